"""Convert annotations, and count what went in and came out."""

import os
import shutil
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from loguru import logger
from tabulate import tabulate

from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import AnnotatedSet
from yolox.data.formats.table import FORMATS, Format
from yolox.data.problems import summary
from yolox.errors import DataError, UsageError


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise UsageError(f"--out: {args.out} is not empty")
    if Path(args.name).name != args.name or args.name.startswith("."):
        raise UsageError(f"--name: {args.name!r} is no name of a folder")
    source, target = FORMATS[args.source_format], FORMATS[args.target_format]
    images = Pictures(args.images, args.allow_outside) if args.images is not None else None
    if images is None and args.source_format == "coco":
        images = Pictures(_images_of_coco(Path(args.source)), args.allow_outside)
    found = source.read(Path(args.source), images, args.classes)
    for line in summary(list(found.problems)):
        logger.warning("{}", line)
    _write_whole(found, target, args.out, args.name, not args.no_copy)
    written = _objects_written(args.out, args.name, found, target)
    print(_table(found, written))
    _say_what_is_lost(found, target, args.target_format)
    if written != found.counts():
        raise DataError(f"{args.out}: other objects were written than read: see the table")
    return 0


def _images_of_coco(source: Path) -> Path:
    """The data folder of an annotation file in `annotations`."""
    return source.parent.parent if source.parent.name == "annotations" else source.parent


def _write_whole(found: AnnotatedSet, target: Format, out: Path, name: str, copied: bool) -> None:
    """Write to a folder beside `out` and rename it, so that nothing is there by halves."""
    assert target.write is not None
    _require_own_names(found)
    work = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(parents=True)
        target.write(found, work, name)
        if copied and target.images is not None:
            folder = work / target.images.replace("NAME", name)
            folder.mkdir(parents=True, exist_ok=True)
            for image in found.images:
                shutil.copyfile(image.path, folder / image.path.name)
        if out.exists():
            out.rmdir()  # it is empty
        work.rename(out)
    except OSError as error:
        raise DataError(f"{error.filename or out}: {error.strerror}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _require_own_names(found: AnnotatedSet) -> None:
    """Raises DataError where two images would be written under one name."""
    stems: dict[str, Path] = {}
    for image in found.images:
        other = stems.setdefault(image.path.stem, image.path)
        if other != image.path:
            raise DataError(f"{image.path} and {other} have one name: rename one of them")


def _objects_written(out: Path, name: str, found: AnnotatedSet, target: Format) -> Counter[str]:
    """The objects of each class in what was written, read anew."""
    images = Pictures(common_folder([image.path for image in found.images]))
    return target.read(target.source(out, name), images, found.class_names).counts()


def common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that all files lie in or below."""
    return Path(os.path.commonpath([path.resolve().parent for path in paths]))


def _table(found: AnnotatedSet, after: Counter[str]) -> str:
    """The objects of each class: in the record that was read, and in what was written."""
    before = found.counts()
    rows = [[name, before[name], after[name]] for name in found.class_names]
    rows.append(["all", before.total(), after.total()])
    return tabulate(rows, ["class", "objects in", "objects out"])


def _say_what_is_lost(found: AnnotatedSet, target: Format, name: str) -> None:
    objects = [item for image in found.images for item in image.objects]
    counts = {
        "difficult": sum(item.difficult for item in objects),
        "crowd": sum(item.crowd for item in objects),
        "id": sum(item.id is not None for item in objects),
    }
    for key, count in counts.items():
        if count and key not in target.keeps:
            logger.warning("{} has no place for {}: {} objects lose theirs", name, key, count)

"""Convert Pascal VOC annotations to COCO JSON.

`python datasets/voc_to_coco.py --voc datasets/VOCdevkit/VOC2007 --out datasets/voc2007
--splits trainval=train2017 test=val2017` writes `annotations/instances_<name>.json` and copies
the images to `<name>/`.
"""

import argparse
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from tabulate import tabulate

from yolox.cli.common import run
from yolox.data.formats import voc
from yolox.data.formats.coco import as_coco
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import without_difficult
from yolox.data.problems import Problem
from yolox.errors import UsageError
from yolox.files import whole_file, write_json

SHOWN_PROBLEMS = 20


def main(argv: list[str] | None = None) -> int:
    """Convert the splits and print, for each class, how many objects went in and came out."""
    args = _parser().parse_args(argv)
    splits = dict(_pair(text) for text in args.splits)
    counted = {split: voc.object_counts(voc.split_file(args.voc, split)) for split in splits}
    names = args.classes or sorted(set().union(*counted.values()))
    pictures = Pictures(args.voc / "JPEGImages", args.allow_outside)
    for split, name in splits.items():
        found = voc.read(voc.split_file(args.voc, split), pictures, names)
        if not args.difficult:
            found = without_difficult(found)
        content = as_coco(found)
        if args.copy:
            _copy_images(args.voc / "JPEGImages", args.out / name, content)
        json_file = args.out / "annotations" / f"instances_{name}.json"
        write_json(json_file, content)
        print(f"{split} -> {json_file}: {len(content['images'])} images")
        _print_classes(names, counted[split], content)
        _print_problems(list(found.problems))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("voc_to_coco.py", description=__doc__)
    parser.add_argument("--voc", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["train=train2017", "val=val2017"],
        metavar="SPLIT=NAME",
        help="VOC split and the name of its image folder (default: %(default)s)",
    )
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="in order of their ids (default: found)"
    )
    parser.add_argument(
        "--copy",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="copy the images to OUT/NAME, or write the JSON only",
    )
    parser.add_argument(
        "--difficult",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep objects marked as difficult",
    )
    parser.add_argument(
        "--allow-outside", action="store_true", help="follow links to images outside of --voc"
    )
    return parser


def _pair(text: str) -> tuple[str, str]:
    split, _, name = text.partition("=")
    if not split or not name:
        raise UsageError(f"--splits {text!r}: expected SPLIT=NAME, like train=train2017")
    return split, name


def _copy_images(source: Path, target: Path, content: dict[str, Any]) -> None:
    for image in content["images"]:
        copy, original = target / image["file_name"], source / image["file_name"]
        if not (copy.exists() and copy.samefile(original)):
            with whole_file(copy) as work:
                shutil.copyfile(original, work)


def _print_classes(names: list[str], before: Counter[str], content: dict[str, Any]) -> None:
    after = Counter(names[a["category_id"] - 1] for a in content["annotations"])
    rows = [[name, before[name], after[name], before[name] - after[name]] for name in names]
    rows.append(["all", before.total(), after.total(), before.total() - after.total()])
    print(tabulate(rows, ["class", "objects in", "objects out", "left out"]))


def _print_problems(problems: list[Problem]) -> None:
    for problem in problems[:SHOWN_PROBLEMS]:
        print(problem)
    if len(problems) > SHOWN_PROBLEMS:
        print(f"... and {len(problems) - SHOWN_PROBLEMS} more problems")
    print()


if __name__ == "__main__":
    raise SystemExit(run(main))

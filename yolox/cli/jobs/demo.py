"""Detect, and save or show pictures with boxes."""

import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
from loguru import logger

from yolox.cli.arguments import require_writable_folder
from yolox.cli.common import INTERRUPTED
from yolox.cli.jobs.common import load_experiment, open_named, set_test_size
from yolox.config import EvalSpec
from yolox.data.folder import ImageFolder, find_images
from yolox.data.image import write_image
from yolox.data.sample import UInt8
from yolox.errors import DataError, UsageError, YoloxError
from yolox.exp import BaseExp
from yolox.files import whole_file
from yolox.predictor import ImageDetections, Predictor

ESCAPE_KEYS = (27, ord("q"))
PICTURE = ".jpg"  # of what is written
DEFAULT_RATE = 25.0  # frames per second, where a video does not say

Detect = Callable[[UInt8], ImageDetections]


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
    exp = load_experiment(args, args.ckpt)
    set_test_size(exp, args.tsize)
    if args.demo != "webcam" and not args.path:
        raise UsageError(f"{args.demo} needs --path")
    folder = Path(args.out) if args.out else Path(exp.output_dir) / exp.exp_name / "demo"
    require_writable_folder("--out", folder)
    predictor = _predictor(args, exp)
    if args.demo == "image":
        return _images(Path(args.path), args.limit, folder, predictor)
    source = args.camid if args.demo == "webcam" else str(args.path)
    save = args.demo == "video" or args.save_result
    name = Path(str(args.path)).stem if args.demo == "video" else f"camera_{args.camid}"
    return _frames(source, folder / f"{name}.mp4" if save else None, args.show, predictor)


def _predictor(args: Namespace, exp: BaseExp) -> Predictor:
    """What the arguments name. Raises UsageError."""
    backend = open_named(args, exp).backend
    try:
        spec = EvalSpec(conf=args.conf, nms=args.nms, class_agnostic=True)
    except ValueError as error:
        raise UsageError(f"--conf or --nms: {error}") from error
    return Predictor(backend, exp.test_size, spec, legacy=args.legacy)


def _images(path: Path, limit: int, folder: Path, detect: Detect) -> int:
    images = find_images(path)
    targets = picture_targets(images, folder)
    for number, source in enumerate(images.paths[: limit or None]):
        start = time.perf_counter()
        found = detect(images.read_image(number))
        drawn = found.draw()
        spent = (time.perf_counter() - start) * 1000
        write_image(targets[number], drawn)
        words = "{}: {} boxes, {:.0f} ms -> {}"
        logger.info(words, source.name, len(found), spent, targets[number])
    return 0


def picture_targets(images: ImageFolder, folder: Path) -> list[Path]:
    """The file to write for each image: a JPEG below `folder`, named as the image.

    Where two images would share one (`a.png` and `a.jpg`), all keep their suffix: `a.png.jpg`.
    Raises UsageError where a file of the user's would be overwritten.
    """
    inside = [path.relative_to(images.root) for path in images.paths]
    targets = [folder / path.with_suffix(PICTURE) for path in inside]
    if len({str(target).casefold() for target in targets}) != len(targets):
        targets = [folder / path.with_name(path.name + PICTURE) for path in inside]
    require_kept(images.paths, targets)
    return targets


def require_kept(sources: Sequence[Path], targets: Sequence[Path]) -> None:
    """Raises UsageError where one of the files to write is one of those that are read."""
    read = {_identity(path): path for path in sources}
    for target in targets:
        identity = _identity(target)
        if identity is not None and identity in read:
            raise UsageError(f"{read[identity]} would be overwritten: name another --out")


def _identity(path: Path) -> tuple[int, int] | None:
    """What is the same for all names of a file; None where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _frames(source: str | int, target: Path | None, show: bool, detect: Detect) -> int:
    """Annotate a video or a camera's frames until they end or a key (q, Esc) is pressed.

    Ctrl-C ends it as well; what is recorded by then is kept.
    """
    if target is not None and isinstance(source, str):
        require_kept([Path(source)], [target])
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        raise DataError(f"video {source!r} cannot be opened")
    rate = capture.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE
    frames, code, start = 0, 0, time.perf_counter()
    with _video(target, rate) as write:
        try:
            while True:
                there, frame = capture.read()
                if not there:
                    break
                drawn = detect(frame).draw()
                frames += 1
                write(drawn)
                if show and _show(drawn) in ESCAPE_KEYS:
                    break
        except KeyboardInterrupt:
            logger.error("interrupted: what is recorded is kept")
            code = INTERRUPTED
        capture.release()
        if not frames:
            raise DataError(f"video {source!r} holds no readable frame")
    rate = frames / (time.perf_counter() - start)
    logger.info("{} frames, {:.1f} frames/s{}", frames, rate, f" -> {target}" if target else "")
    return code


@contextmanager
def _video(target: Path | None, rate: float) -> Iterator[Callable[[UInt8], None]]:
    """A function that appends frames to a video, which is put in its place at the end.

    Without a target nothing is written. Raises YoloxError where the file cannot be written.
    """
    if target is None:
        yield lambda frame: None
        return
    with whole_file(target) as work:
        part = work.with_name(work.name + target.suffix)  # OpenCV goes by the suffix
        video = _Video(part, rate)
        try:
            yield video.write
            video.close()
            part.replace(work)
        finally:
            video.close()
            part.unlink(missing_ok=True)


class _Video:
    """A video file that is begun with its first frame."""

    def __init__(self, path: Path, rate: float):
        self._path, self._rate = path, rate
        self._writer: cv2.VideoWriter | None = None

    def write(self, frame: UInt8) -> None:
        """Append [H, W, 3] uint8 BGR. Raises YoloxError where the file cannot be written."""
        if self._writer is None:
            size, code = (frame.shape[1], frame.shape[0]), cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._path), code, self._rate, size)
            if not self._writer.isOpened():
                raise YoloxError(f"video {self._path} cannot be written")
        self._writer.write(frame)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


def _show(frame: UInt8) -> int:
    """Show a frame in a window; the key that was pressed, or -1."""
    try:
        cv2.imshow("yolox", frame)
        return int(cv2.waitKey(1))
    except cv2.error as error:
        raise UsageError("--show needs OpenCV with windows: pip install opencv-python") from error

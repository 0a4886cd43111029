"""`yolox demo image|video|webcam`: detect, and save or show pictures with boxes."""

import time
from argparse import Namespace
from contextlib import closing
from pathlib import Path

import cv2
from loguru import logger

from yolox.cli.arguments import Parser, real, require_writable_folder, whole
from yolox.cli.common import (
    add_experiment,
    add_runtime,
    load_experiment,
    open_named,
    set_test_size,
)
from yolox.config import EvalSpec
from yolox.data.folder import find_images
from yolox.data.sample import UInt8
from yolox.errors import DataError, UsageError, YoloxError
from yolox.eval.annotate import Annotate, annotator
from yolox.exp import Exp

ESCAPE_KEYS = (27, ord("q"))
DEFAULT_RATE = 25.0  # frames per second, where a video does not say


def make_parser() -> Parser:
    """The flags of YOLOX's demo command."""
    parser = Parser("yolox demo", description=__doc__)
    parser.add_argument("demo", choices=["image", "video", "webcam"])
    parser.add_argument("-c", "--ckpt", help="checkpoint or exported file")
    parser.add_argument("--path", help="image, folder of images, or video")
    parser.add_argument("--camid", type=whole(0), default=0, help="number of the camera")
    parser.add_argument("--out", help="folder for the pictures (default: <output_dir>/<exp>/demo)")
    parser.add_argument("--limit", type=whole(0), default=0, help="images at the most (0: all)")
    parser.add_argument(
        "--save_result", action="store_true", help="webcam: save a video; others always save"
    )
    parser.add_argument("--show", action="store_true", help="show frames in a window too")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps")
    parser.add_argument("--conf", type=real(0, 1), default=0.3, help="score threshold")
    parser.add_argument(
        "--nms", type=real(0, 1), default=0.3, help="IoU threshold, over all classes"
    )
    parser.add_argument("--tsize", type=whole(), help="test at this square size")
    parser.add_argument("--legacy", action="store_true", help="RGB, normalised (YOLOX before 0.2)")
    parser.add_argument("--fuse", action="store_true", help="as always: batch norm is folded in")
    add_runtime(parser)
    add_experiment(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    exp = load_experiment(args, args.ckpt)
    set_test_size(exp, args.tsize)
    if args.demo != "webcam" and not args.path:
        raise UsageError(f"{args.demo} needs --path")
    folder = Path(args.out) if args.out else Path(exp.output_dir) / exp.exp_name / "demo"
    require_writable_folder("--out", folder)
    annotate = _annotator(args, exp)
    if args.demo == "image":
        return _images(Path(args.path), args.limit, folder, annotate)
    source = args.camid if args.demo == "webcam" else str(args.path)
    save = args.demo == "video" or args.save_result
    name = Path(str(args.path)).stem if args.demo == "video" else f"camera_{args.camid}"
    return _frames(source, folder / f"{name}.mp4" if save else None, args.show, annotate)


def _annotator(args: Namespace, exp: Exp) -> Annotate:
    """What the arguments name. Raises UsageError."""
    backend = open_named(args, exp).backend
    try:
        spec = EvalSpec(conf=args.conf, nms=args.nms, class_agnostic=True)
    except ValueError as error:
        raise UsageError(f"--conf or --nms: {error}") from error
    return annotator(backend, exp.test_size, spec, args.legacy)


def _images(path: Path, limit: int, folder: Path, annotate: Annotate) -> int:
    images = find_images(path)
    for number, source in enumerate(images.paths[: limit or None]):
        start = time.perf_counter()
        drawn, count = annotate(images.read_image(number))
        spent = (time.perf_counter() - start) * 1000
        inside = source.relative_to(path) if path.is_dir() else Path(source.name)
        target = (folder / inside).with_suffix(".jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(target), drawn):
            raise YoloxError(f"picture {target} cannot be written")
        logger.info("{}: {} boxes, {:.0f} ms -> {}", source.name, count, spent, target)
    return 0


def _frames(source: str | int, target: Path | None, show: bool, annotate: Annotate) -> int:
    """Annotate a video or a camera's frames until they end or a key (q, Esc) is pressed."""
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        raise DataError(f"video {source!r} cannot be opened")
    rate = capture.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE
    frames, start = 0, time.perf_counter()
    with closing(_Video(target, rate)) as video:
        while True:
            there, frame = capture.read()
            if not there:
                break
            drawn, _ = annotate(frame)
            frames += 1
            video.write(drawn)
            if show and _show(drawn) in ESCAPE_KEYS:
                break
    capture.release()
    if not frames:
        raise DataError(f"video {source!r} holds no readable frame")
    rate = frames / (time.perf_counter() - start)
    logger.info("{} frames, {:.1f} frames/s{}", frames, rate, f" -> {target}" if target else "")
    return 0


class _Video:
    """A video file that is begun with its first frame; without a path nothing is written."""

    def __init__(self, path: Path | None, rate: float):
        self._path, self._rate = path, rate
        self._writer: cv2.VideoWriter | None = None

    def write(self, frame: UInt8) -> None:
        """Append [H, W, 3] uint8 BGR. Raises YoloxError where the file cannot be written."""
        if self._path is None:
            return
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

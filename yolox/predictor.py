"""The Python interface: `yolox.load` opens a model, which gives the boxes of images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar, overload

import numpy as np
import torch

from yolox.backends import Backend, ModelInfo
from yolox.backends.base import check_size
from yolox.config import EvalSpec
from yolox.data.augment import letterbox
from yolox.data.coco_classes import class_labels
from yolox.data.draw import draw_boxes
from yolox.data.image import read_image, write_image
from yolox.data.sample import Float32, Int64, UInt8, channels_first
from yolox.defaults import CONF, NMS
from yolox.engine.launch import pick_device
from yolox.errors import DataError, UsageError
from yolox.eval.predict import detect, legacy_input, to_detections
from yolox.exp import BaseExp, exp_of_checkpoint, get_exp
from yolox.export.open import Runtime, is_exported, open_model, require_device_used
from yolox.limits import over_limit
from yolox.values import check_value, shown

PathOrArray = str | Path | UInt8
Item = TypeVar("Item", bound=PathOrArray)


class Detection(NamedTuple):
    """One object: box (x1, y1, x2, y2) in pixels of the image, score 0 to 1, class number, name."""

    box: tuple[float, float, float, float]
    score: float
    label: int
    name: str


@dataclass(frozen=True, eq=False)
class ImageDetections:
    """What a model detects in one image, best first. Its length is the number of boxes.

    image: [H, W, 3] uint8 BGR, the array that was given, not a copy.
    boxes: [N, 4] float32, x1, y1, x2, y2 in pixels of `image`; they may reach over its border.
    scores: [N] float32, 0 to 1. labels: [N] int64, class numbers: places in `class_names`.
    """

    image: UInt8 = field(repr=False)
    boxes: Float32
    scores: Float32
    labels: Int64
    class_names: tuple[str, ...] = field(repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def names(self) -> tuple[str, ...]:
        """The class name of each box."""
        return tuple(self.class_names[label] for label in self.labels.tolist())

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        rows = zip(
            self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), self.names, strict=True
        )
        for (x1, y1, x2, y2), score, label, name in rows:
            yield Detection((x1, y1, x2, y2), score, label, name)

    def draw(self) -> UInt8:
        """A copy of the image, [H, W, 3] uint8 BGR, with boxes, class names and scores."""
        return draw_boxes(self.image, self.boxes, self.labels, self.class_names, self.scores)

    def save(self, path: str | Path) -> None:
        """Write what `draw` gives as a picture, whole or not at all.

        path: its ending says the format (.jpg, .png, ...). Raises UsageError for an unknown ending,
        YoloxError where the file cannot be written.
        """
        write_image(Path(path), self.draw())


class Predictor:
    """A model with its input size, thresholds and class names: images in, boxes out.

    size_hw: images are scaled to fit this size, their aspect kept.
    class_names: by default those that the model states, else COCO's for 80 classes, else numbers.
    legacy: input is RGB and normalised, as YOLOX before 0.2 had it.
    """

    def __init__(
        self,
        backend: Backend,
        size_hw: tuple[int, int],
        spec: EvalSpec,
        class_names: tuple[str, ...] | None = None,
        *,
        legacy: bool = False,
    ):
        self.backend, self.size_hw, self.spec, self.legacy = backend, size_hw, spec, legacy
        info = backend.info
        self.class_names = class_names or class_labels(info.num_classes, info.class_names)

    @overload
    def __call__(self, images: PathOrArray) -> ImageDetections: ...

    @overload
    def __call__(self, images: list[Item] | tuple[Item, ...]) -> list[ImageDetections]: ...

    def __call__(
        self, images: PathOrArray | list[Item] | tuple[Item, ...]
    ) -> ImageDetections | list[ImageDetections]:
        """Detections in an image, or in each image of a list, which are run one by one.

        images: a path, an array [H, W, 3] uint8 BGR, or a list or tuple of them.
        Raises DataError for a file that is no image, naming it, and for any other array; UsageError
        for another type; ModelError where the runtime stops.
        """
        if isinstance(images, list | tuple):
            return [self._detect(pixels(image)) for image in images]
        return self._detect(pixels(images))

    def _detect(self, image: UInt8) -> ImageDetections:
        canvas, ratio = letterbox(image, self.size_hw)
        batch = torch.from_numpy(channels_first(canvas))[None]
        predictions = self.backend(legacy_input(batch) if self.legacy else batch)
        found = to_detections(detect(predictions, self.backend, self.spec)[0], ratio)
        return ImageDetections(
            image,
            found.boxes_xyxy.numpy(),
            found.scores.numpy(),
            found.labels.numpy(),
            self.class_names,
        )


def load(
    path: str | Path,
    *,
    exp_file: str | Path | None = None,
    name: str | None = None,
    backend: str | None = None,
    device: str | None = None,
    precision: str = "fp32",
    size: int | tuple[int, int] | None = None,
    conf: float = CONF,
    nms: float = NMS,
    class_agnostic: bool = True,
    names: Sequence[str] | None = None,
) -> Predictor:
    """A model that detects: `load("best_ckpt.pth")("street.jpg")`. Defaults are `yolox demo`'s.

    path: a checkpoint (dense, masked, pruned or merged, ours or official YOLOX's), an ONNX file or
        an OpenVINO model (.xml).
    exp_file, name: the experiment, by its file (which is run) or a shipped one such as "yolox-s".
        Only checkpoints that do not name theirs need it, as official YOLOX's.
    backend: torch, compile, onnxruntime or openvino; by default the file's own.
    device: of torch: cpu, cuda, cuda:N or mps; by default the best there is.
    precision: fp32, bf16 or fp16.
    size: of the model's input in pixels, (height, width) or a square's side; by default the
        experiment's `test_size`, or the one that an exported file is made for.
    conf, nms: thresholds on scores and on the IoU of boxes. A file that has its suppression in its
        graph uses its own `nms`, and gives no scores below its own `conf`.
    class_agnostic: whether boxes of different classes suppress each other. `yolox eval` has conf
        0.01, nms 0.65 and class_agnostic False, unless its experiment says otherwise.
    names: of the classes, in place of those that the file states.

    Raises ModelError for a file that is no model or does not fit its experiment, UsageError for an
    option that is wrong or that the file does not allow; both are `yolox.errors.YoloxError`.
    """
    spec = _eval_spec(conf, nms, class_agnostic)
    size_hw = None if size is None else _size_hw(size)
    require_device_used(device, path, backend)
    exp = _experiment(path, exp_file, name, size_hw)
    opened = open_model(
        path,
        Runtime(backend, precision, pick_device(device)),
        exp.test_size if exp is not None else (0, 0),  # unused: exported files have their own
        exp.detector_spec() if exp is not None else None,
    ).backend
    return Predictor(
        opened,
        _input_size(path, opened.info, size_hw, exp),
        spec,
        None if names is None else _class_names(path, opened.info, names),
    )


def pixels(image: PathOrArray) -> UInt8:
    """The image of a path, or the array itself if it is [H, W, 3] uint8.

    Raises DataError, or UsageError where it is neither.
    """
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if not isinstance(image, np.ndarray):
        raise UsageError(f"image {shown(image)} is not a path or an array [H, W, 3] of uint8")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(f"image of shape {image.shape}, {image.dtype}, is not [H, W, 3] of uint8")
    return image


def _eval_spec(conf: float, nms: float, class_agnostic: bool) -> EvalSpec:
    for key, value, kind in (
        ("conf", conf, float),
        ("nms", nms, float),
        ("class_agnostic", class_agnostic, bool),
    ):
        check_value(key, value, kind)
    try:
        return EvalSpec(conf=conf, nms=nms, class_agnostic=class_agnostic)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _size_hw(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width, checked as far as that is possible without a model."""
    check_value("size", size, int | tuple[int, int])
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise UsageError(f"size {size} is not positive")
    reason = over_limit("MAX_IMAGE_PIXELS", height * width)
    if reason:
        raise UsageError(f"size {size}: pixels: {reason}")
    return height, width


def _experiment(
    path: str | Path, exp_file: str | Path | None, name: str | None, size: tuple[int, int] | None
) -> BaseExp | None:
    """The experiment that is named, else the checkpoint's own; None for exported files."""
    if exp_file is not None or name is not None:
        exp = get_exp(None if exp_file is None else str(exp_file), name)
    elif is_exported(path):
        return None
    else:
        exp = exp_of_checkpoint(path)
    if size is not None:
        exp.test_size = size
    exp.validate()
    return exp


def _input_size(
    path: str | Path, info: ModelInfo, size: tuple[int, int] | None, exp: BaseExp | None
) -> tuple[int, int]:
    """Height and width that images are scaled to. size: as asked for."""
    if size is None and info.size_hw is not None:
        return info.size_hw
    chosen = size or (exp.test_size if exp is not None else None)
    if chosen is None:
        raise UsageError(f"{path} takes images of any size: name one with size=")
    try:
        check_size(chosen, info)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return chosen


def _class_names(path: str | Path, info: ModelInfo, names: Sequence[str]) -> tuple[str, ...]:
    check_value("names", names, tuple[str, ...])
    if len(names) != info.num_classes:
        raise UsageError(f"{len(names)} names, but {path} has {info.num_classes} classes")
    return tuple(names)

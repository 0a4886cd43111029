"""The deployment run that a JSON configuration describes."""

import math
import time
from argparse import Namespace
from dataclasses import dataclass, fields
from pathlib import Path

from loguru import logger
from tabulate import tabulate

from yolox.backends import PRECISIONS, ModelInfo
from yolox.cli.arguments import require_writable
from yolox.config import EvalSpec, from_dict
from yolox.config_text import read_json
from yolox.data.class_order import require_same_order
from yolox.data.coco_classes import category_ids
from yolox.data.dataset import DetectionDataset
from yolox.data.folder import ImageFolder, find_images
from yolox.data.image import header_size
from yolox.data.loader import DATA_TIMEOUT
from yolox.defaults import BACKENDS, PROVIDER
from yolox.engine.launch import pick_device
from yolox.errors import DataError, UsageError
from yolox.eval.coco_ap import coco_metrics, ground_truth, to_coco
from yolox.eval.evaluate import in_stated_pixels
from yolox.eval.predict import PredictOptions, Timing, predict, rectangular_batches, square_batches
from yolox.eval.tables import metrics_table
from yolox.exp import BaseExp, get_exp
from yolox.exp.options import option_types, parse_pairs
from yolox.export.graph_size import graph_size
from yolox.export.open import Runtime, open_model, require_device_used
from yolox.files import write_json
from yolox.limits import over_limit
from yolox.models.complexity import count_nonzero


@dataclass(frozen=True, kw_only=True)
class DeployConfig(EvalSpec):
    """Every key a configuration may have; `checkpoint` and `images` must be there.

    checkpoint: one the toolkit or YOLOX wrote, or an exported file (.onnx, .xml).
    exp: name of a shipped experiment, for checkpoints that do not state their architecture. A file
    of your own is named on the command line (-f): no configuration makes code run.
    allow_outside: annotations may name images outside the folder `images`.
    size: (height, width) that images are scaled to fit. data_timeout: seconds that a worker may
    take for a batch. How predictions become detections is as in evaluation: `EvalSpec`. Paths are
    relative to the working directory.
    """

    checkpoint: str
    images: str
    answer: str = "answer.json"
    annotations: str | None = None
    allow_outside: bool = False
    exp: str | None = None
    size: tuple[int, int] = (640, 640)
    rectangular: bool = True
    batch_size: int = 8
    workers: int = 2
    data_timeout: float = DATA_TIMEOUT
    device: str | None = None
    backend: str | None = None
    threads: int = 0
    provider: str = PROVIDER
    precision: str = "fp32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision!r} is none of {', '.join(PRECISIONS)}")
        if self.backend is not None and self.backend not in BACKENDS:
            raise ValueError(f"backend {self.backend!r} is none of {', '.join(BACKENDS)}")
        if self.batch_size < 1 or self.workers < 0 or self.threads < 0:
            raise ValueError(
                f"batch_size {self.batch_size}, workers {self.workers}, threads {self.threads}: "
                "too small"
            )
        if not 0 < self.data_timeout < math.inf:
            raise ValueError(
                f"data_timeout {self.data_timeout} is not a positive number of seconds"
            )
        if "" in (self.checkpoint, self.images, self.answer):
            raise ValueError("checkpoint, images or answer is empty")
        height, width = self.size
        for key, value, name in (
            ("batch_size", self.batch_size, "MAX_BATCH"),
            ("workers", self.workers, "MAX_WORKERS"),
            ("threads", self.threads, "MAX_THREADS"),
            ("size", height * width, "MAX_IMAGE_PIXELS"),
        ):
            reason = over_limit(name, value)
            if reason:
                raise ValueError(f"{key} {reason}")

    def eval_spec(self) -> EvalSpec:
        """The part that says how predictions become detections."""
        return EvalSpec(**{field.name: getattr(self, field.name) for field in fields(EvalSpec)})


def load_config(path: Path, overrides: list[str]) -> DeployConfig:
    """Read a configuration strictly. Raises UsageError naming the file, the key and the value."""
    values = read_json(path, "configuration")
    config: DeployConfig = from_dict(DeployConfig, values, f"configuration {path}")
    changed = {**vars(config), **parse_pairs(overrides, option_types(config))}
    config = from_dict(DeployConfig, changed, f"configuration {path}")
    return config


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
    deploy(load_config(args.config, args.opts), args.exp_file)
    return 0


def deploy(config: DeployConfig, exp_file: str | None = None) -> None:
    """The whole run; prints what it measured. Raises DataError, ModelError or UsageError.

    exp_file: an experiment file, which is run.
    """
    require_writable({"answer": config.answer})
    clock = time.perf_counter()
    exp = _experiment(config.exp, exp_file)
    require_device_used(config.device, config.checkpoint, config.backend)
    runtime = Runtime(
        config.backend,
        config.precision,
        pick_device(config.device),
        config.threads,
        config.provider,
    )
    opened = open_model(
        config.checkpoint,
        runtime,
        config.size,
        exp.detector_spec() if exp else None,
        any_size=config.rectangular,
    )
    backend, info = opened.backend, opened.backend.info
    _check_size(config, info)
    parameters = (
        count_nonzero(opened.model)
        if opened.model is not None
        else graph_size(config.checkpoint, config.size).nonzero
    )
    images, dataset = _images(config, info)
    spent = {"set-up": time.perf_counter() - clock}

    clock = time.perf_counter()
    sizes_wh = [header_size(path) for path in images.paths]
    batches = (
        rectangular_batches(
            [(h, w) for w, h in sizes_wh], config.size, info.divisor, config.batch_size
        )
        if config.rectangular
        else square_batches(len(images), config.size, config.batch_size)
    )
    options = PredictOptions(
        config.eval_spec(), workers=config.workers, timeout=config.data_timeout
    )
    predicted = predict(backend, images, batches, options)
    spent["images, wall clock"] = time.perf_counter() - clock

    clock = time.perf_counter()
    ids = tuple(dataset.category_ids) if dataset else info.category_ids
    image_ids = [record.id for record in dataset.images] if dataset else images.ids()
    found = in_stated_pixels(predicted, dataset) if dataset else predicted.found
    results = to_coco(found, image_ids, category_ids(info.num_classes, ids))
    answer = [{"framework": backend.framework}, {"parameters": parameters}, *results]
    write_json(Path(config.answer), answer)
    spent["answer"] = time.perf_counter() - clock
    _report(config, predicted.timing, spent, parameters)
    if dataset is not None:
        print(metrics_table(coco_metrics(ground_truth(dataset), results)))


def _check_size(config: DeployConfig, info: ModelInfo) -> None:
    """Raises UsageError where the model cannot take images of the configured sizes."""
    if any(value < 1 or value % info.divisor for value in config.size):
        raise UsageError(
            f"size {config.size} is not a multiple of {info.divisor}, as the model needs"
        )
    if info.size_hw is None:
        return
    if config.rectangular:
        raise UsageError(
            f"{config.checkpoint} has the fixed size {tuple(info.size_hw)}: set rectangular false, "
            "or export it with --dynamic-size"
        )
    if tuple(info.size_hw) != tuple(config.size):
        raise UsageError(
            f"size {config.size} is not the fixed size {tuple(info.size_hw)} of {config.checkpoint}"
        )


def _experiment(name: str | None, file: str | None) -> BaseExp | None:
    if file is not None:
        return get_exp(exp_file=file)
    return get_exp(exp_name=name) if name is not None else None


def _images(config: DeployConfig, info: ModelInfo) -> tuple[ImageFolder, DetectionDataset | None]:
    """The images to run on: those of the annotation file where one is named, else the folder's."""
    if config.annotations is None:
        return find_images(Path(config.images)), None
    folder = Path(config.images)
    file = Path(config.annotations)
    if not folder.is_dir():
        raise DataError(f"images {folder}: no such folder")
    dataset = DetectionDataset(folder, str(file.resolve()), "", allow_outside=config.allow_outside)
    if len(dataset.class_names) != info.num_classes:
        raise UsageError(
            f"the checkpoint has {info.num_classes} classes, {file} has {len(dataset.class_names)}"
        )
    require_same_order(info.class_names, dataset, config.checkpoint)
    return ImageFolder([record.path for record in dataset.images], folder), dataset


def _report(config: DeployConfig, timing: Timing, spent: dict[str, float], parameters: int) -> None:
    per_image = timing.per_image_ms()
    rows = [[stage, f"{seconds:.2f}", ""] for stage, seconds in spent.items()]
    for stage in ("preprocess", "forward", "postprocess"):
        seconds = getattr(timing, stage)
        rows.append([f"  {stage}", f"{seconds:.2f}", f"{per_image[stage]:.2f}"])
    rows.append(["  warm-up", f"{timing.warm_up:.2f}", ""])
    print(tabulate(rows, headers=["stage", "s", "ms per image"], tablefmt="github"))
    print(f"images: {timing.images}; parameters (not zero): {parameters}; answer: {config.answer}")
    logger.info(
        "forward includes the transfer to the device and decoding; postprocess is NMS; "
        "warm-up is both for the first batch of every shape"
    )

"""One export from beginning to end: write the file, quantise it, compare it, put it in its place.

The file is first written as `NAME.rejected` and gets its name when everything held; where it drifts
from its source, it stays there to be looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loguru import logger
from torch import Tensor, nn

from yolox.backends import Backend, ModelInfo, TorchBackend
from yolox.config import EvalSpec
from yolox.data.dataset import DetectionDataset
from yolox.data.folder import find_images
from yolox.defaults import FEWEST
from yolox.engine.restore import restore
from yolox.errors import DataError, ExportError, UsageError
from yolox.eval.evaluate import evaluate_alone
from yolox.eval.predict import ImageSource
from yolox.exp import BaseExp
from yolox.export.calibration import calibration_images, canvases, drawn_images
from yolox.export.int8 import Floor, Fused, quantise
from yolox.export.onnx_graph import GraphSpec, save_onnx, to_onnx
from yolox.export.open import Runtime, file_bytes, file_parts, model_info, open_file
from yolox.export.parity import TOLERANCES, compare, require_ap, require_parity
from yolox.export.quantize import convert_to_vino
from yolox.files import file_hash
from yolox.models.fuse import fuse

COMPARED_IMAGES = 8
VINO = ".xml"


@dataclass(frozen=True)
class Int8:
    """Quantisation after training.

    calibration: folder of images (None: the experiment's training images); images: how many.
    max_drop: AP it may cost; None quantises everything and measures nothing.
    """

    calibration: str | None = None
    images: int = 64
    max_drop: float | None = None

    def __post_init__(self) -> None:
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise ValueError(f"max_drop {self.max_drop} is not in 0..1")
        if self.images < FEWEST:
            raise ValueError(f"{self.images} calibration images are less than {FEWEST}")


@dataclass(frozen=True)
class ExportJob:
    """What to export, as what, and how to prove it.

    target: .onnx, or .xml for OpenVINO's format. images: folder to compare outputs on (None: the
    experiment's validation images). ap: whether AP is compared, too.
    Raises UsageError for what does not go together.
    """

    ckpt: str
    exp: BaseExp
    target: Path
    graph: GraphSpec
    int8: Int8 | None = None
    images: str | None = None
    ap: bool = False

    def __post_init__(self) -> None:
        if self.target.suffix not in (".onnx", VINO):
            raise UsageError(f"{self.target} ends in neither .onnx nor {VINO}")
        if self.target.suffix == VINO and (self.graph.nms or self.graph.half):
            raise UsageError("NMS in the graph and fp16 are for .onnx files (OpenVINO reads those)")
        if self.int8 and self.graph.half:
            raise UsageError("int8 and fp16 exclude each other")

    def eval_spec(self) -> EvalSpec:
        """Thresholds of evaluations: those of the graph where it has some."""
        return self.graph.nms or self.exp.eval_spec()


@dataclass(frozen=True)
class Source:
    """The fused module, what it is, and the backend that files are compared with."""

    model: nn.Module
    info: ModelInfo
    backend: Backend


def export(job: ExportJob) -> dict[str, Any]:
    """Do it. Returns what was measured; raises YoloxError, ExportError where the file drifts."""
    restored = restore(job.ckpt, job.exp.detector_spec())
    model = fuse(restored.model)
    info = replace(model_info(restored), source_sha256=file_hash(job.ckpt))
    source = Source(model, info, TorchBackend(model, info))
    images = _comparison_images(job)
    work = job.target.with_name(f"{job.target.stem}.rejected{job.target.suffix}")
    work.parent.mkdir(parents=True, exist_ok=True)
    try:
        facts = _quantised(job, job.int8, source, work) if job.int8 else _plain(job, source, work)
        facts |= _proof(job, source, work, images)
    except ExportError as error:
        raise ExportError(f"{error}; the file is kept as {work}") from error
    except BaseException:  # nothing drifted: nothing is kept
        for part in file_parts(work):
            part.unlink(missing_ok=True)
        raise
    for part in file_parts(work):
        part.replace(job.target.with_suffix(part.suffix))
    size = file_bytes(job.target)
    logger.info("{:.2f} MB -> {}", size / 1e6, job.target)
    stated = {"file": str(job.target), "opset": job.graph.opset, "bytes": size}
    return {**stated, "sha256": file_hash(job.target), **facts}


def _comparison_images(job: ExportJob) -> Tensor:
    """Real images; without any, drawn ones, and a word about it."""
    size = job.exp.test_size
    if job.images:
        return canvases(find_images(Path(job.images)), size, COMPARED_IMAGES)
    try:
        return canvases(job.exp.get_eval_dataset(), size, COMPARED_IMAGES)
    except DataError as error:
        if job.ap:
            raise
        logger.warning("outputs are compared on drawn images, not on real ones: {}", error)
        return drawn_images(size, COMPARED_IMAGES)


def _plain(job: ExportJob, source: Source, work: Path) -> dict[str, Any]:
    content = to_onnx(source.model, source.info, job.graph)
    if work.suffix == VINO:
        convert_to_vino(content, job.graph.describe(source.info), work)
    else:
        save_onnx(content, work)
    return {"precision": "fp16" if job.graph.half else "fp32"}


def _quantised(job: ExportJob, int8: Int8, source: Source, work: Path) -> dict[str, Any]:
    """Quantise, to the AP floor where one is given, and compare the speed with the float file."""
    if int8.max_drop is None:
        logger.warning("without --max-drop the accuracy of an INT8 file is not checked")
    fused = Fused(source.model, source.info)
    return quantise(fused, job.graph, _calibration(job, int8), work, _floor(job, int8))


def _floor(job: ExportJob, int8: Int8) -> Floor | None:
    """On which images it is measured whether AP falls too far; None where it may."""
    if int8.max_drop is None:
        return None
    chosen = job.exp.get_select_dataset()
    measure = _measure(job, chosen or job.exp.get_eval_dataset())
    return Floor(measure, int8.max_drop, _chosen_on(chosen))


def _calibration(job: ExportJob, int8: Int8) -> Tensor:
    source: ImageSource = (
        find_images(Path(int8.calibration)) if int8.calibration else job.exp.get_dataset()
    )
    return calibration_images(source, job.exp.test_size, int8.images)


def _chosen_on(chosen: DetectionDataset | None) -> str:
    """In words, on which images the number of float layers was chosen."""
    if chosen is None:
        return "the validation images, on which AP is reported, too (see select_ann, select_share)"
    return f"{len(chosen)} images set aside for choosing, not the validation images (see --ap)"


def _proof(job: ExportJob, source: Source, work: Path, images: Tensor) -> dict[str, Any]:
    """Compare the file with its source. Raises ExportError beyond the tolerance."""
    exported = open_file(work, Runtime())
    found = compare(source.backend, exported, images, job.eval_spec())
    logger.info(
        "{} images, {} points or detections: scores differ by {:.2g}, boxes by 1 - IoU = {:.2g}, "
        "{:.2%} of detections have no counterpart",
        found.images,
        found.compared,
        found.score,
        found.box,
        found.lost,
    )
    tolerance = TOLERANCES.get(exported.info.precision)  # int8 has a floor of AP instead
    if tolerance is not None:
        require_parity(found, tolerance)
    facts: dict[str, Any] = {"parity": found.as_json()}
    if job.ap:
        measure = _measure(job, job.exp.get_eval_dataset())
        before, after = measure(source.backend), measure(exported)
        logger.info("AP {:.4f} -> {:.4f}", before, after)
        if tolerance is not None:
            require_ap(before, after, tolerance.ap)
        facts |= {"ap_source": before, "ap_exported": after}
    return facts


def _measure(job: ExportJob, dataset: DetectionDataset) -> Callable[[Backend], float]:
    """AP of a backend on labelled images."""
    exp = job.exp

    def measure(backend: Backend) -> float:
        options = replace(exp.predict_options(), eval_spec=job.eval_spec())
        return evaluate_alone(backend, dataset, exp.test_size, options).metrics.AP

    return measure

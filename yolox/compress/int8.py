"""The int8 stage: the merged model as an INT8 file, with as many float layers as its AP needs."""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from loguru import logger

from yolox.compress.calibration import ImageSet
from yolox.compress.job import CompressionJob
from yolox.compress.recover import recovery_experiment
from yolox.compress.selection import ApMeasure
from yolox.compress.stage import (
    INT8,
    INT8_FACTS,
    INT8_WEIGHTS,
    LABELS,
    Artefact,
    Artefacts,
    Source,
    Stage,
)
from yolox.compress.steps import INT8_FILES, Int8Step
from yolox.compress.workspace import Workspace
from yolox.data.dataset import DetectionDataset
from yolox.engine.restore import restore
from yolox.export.calibration import calibration_images
from yolox.export.int8 import Floor, Fused, quantise
from yolox.export.onnx_graph import GraphSpec
from yolox.export.open import file_bytes, file_parts, model_info
from yolox.files import write_json
from yolox.models.fuse import fuse


@dataclass(frozen=True)
class Int8Inputs:
    """What the int8 stage is given. ap: of the images that the float layers are chosen on."""

    source: Source
    step: Int8Step
    images: ImageSet
    ap: ApMeasure | None


class Int8Stage(Stage):
    """Quantise after the training; see `fake_int8` for a recovery that prepares for it."""

    name = "int8"
    writes = ("int8.onnx", "int8.xml", "int8.bin", "int8.json")

    def is_asked(self, job: CompressionJob) -> bool:
        """Where the recipe has options for it."""
        return job.recipe.int8 is not None

    def given(self, job: CompressionJob, found: Artefacts) -> Int8Inputs:
        """The merged checkpoint, and the images to calibrate with and to choose on."""
        step = job.recipe.int8
        assert step is not None
        chosen = _choosing(job, found) if step.max_drop is not None else None
        return Int8Inputs(
            Source("merged", found["merged"].path),
            step,
            job.images(step.images),
            None if chosen is None else job.ap_on(chosen),
        )

    def run(
        self, given: Int8Inputs, workspace: Workspace, interrupted: bool
    ) -> dict[str, Artefact]:
        """Writes `int8.onnx`, or `int8.xml` and `int8.bin`, and beside it `int8.json`.

        Raises ExportError where no number of float layers holds the floor; nothing is written then.
        """
        restored = restore(given.source.path, workspace.expected)
        images = given.images
        with tempfile.TemporaryDirectory(prefix="yolox-") as folder:
            made = Path(folder) / f"int8{INT8_FILES[given.step.runtime]}"
            facts = quantise(
                Fused(fuse(restored.model), model_info(restored)),
                GraphSpec(images.size_hw, dynamic_batch=True),
                calibration_images(images.source, images.size_hw, images.count),
                made,
                _floor(given),
            )
            for name in self.writes:
                (workspace.out / name).unlink(missing_ok=True)
            for part in file_parts(made):
                shutil.move(part, workspace.out / part.name)
        target = workspace.out / made.name
        write_json(target.with_suffix(".json"), facts, indent=2)
        logger.info("{:.2f} MB -> {}", file_bytes(target) / 1e6, target)
        parts = {INT8: target, INT8_FACTS: target.with_suffix(".json")}
        if len(file_parts(target)) > 1:
            parts[INT8_WEIGHTS] = file_parts(target)[1]
        return {name: Artefact(path, given.source.name) for name, path in parts.items()}


def _choosing(job: CompressionJob, found: Artefacts) -> DetectionDataset | None:
    """The labelled images that choose, or the pictures that the dense model has labelled."""
    if LABELS in found:
        job = replace(job, exp=recovery_experiment(job, found[LABELS].path))
    return job.selection_set


def _floor(given: Int8Inputs) -> Floor | None:
    """None where the recipe asks for none, or nothing is there to measure it on."""
    drop = given.step.max_drop
    if given.ap is None or drop is None:
        why = (
            "no max_drop"
            if drop is None
            else f"max_drop {drop}, but no labelled images to check it"
        )
        logger.warning("int8: every layer is quantised, whatever AP that costs ({})", why)
        return None
    count = len(given.ap.labelled.dataset)
    return Floor(given.ap.of_backend, drop, f"the {count} images that choose")

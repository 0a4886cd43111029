"""The label stage: what the dense model finds in pictures without labels is what a recovery learns.

Beside its detections, which become boxes, a recovery with a teacher compares raw predictions on
the same pictures (Hinton 2015): the boxes serve to choose the best epoch, and as labels unless
`label_weight` is 0.
"""

from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from yolox.backends import ModelInfo, TorchBackend
from yolox.compress.calibration import ImageSet, LabelledSet
from yolox.compress.job import CompressionJob
from yolox.compress.stage import DENSE, LABELS, Artefact, Artefacts, Stage
from yolox.compress.workspace import Workspace
from yolox.data.class_order import require_same_order
from yolox.data.dataset import DetectionDataset
from yolox.data.folder import find_images
from yolox.errors import DataError
from yolox.eval.coco_ap import to_coco
from yolox.eval.predict import Predicted, PredictOptions, predict, square_batches
from yolox.files import write_json
from yolox.models.fuse import fuse

BATCH = 8


@dataclass(frozen=True)
class LabelInputs:
    """What the label stage is given. labelled: images with labels that are learnt from, too."""

    dense: Path
    pictures: ImageSet
    labelled: LabelledSet | None
    options: PredictOptions


class LabelStage(Stage):
    """Write the training set of a recovery that learns from pictures without labels."""

    name = "label"
    writes = ("labels.json",)

    def is_asked(self, job: CompressionJob) -> bool:
        """Where the recovery has pictures."""
        return job.learns_from_pictures

    def given(self, job: CompressionJob, found: Artefacts) -> LabelInputs:
        """The dense checkpoint, the pictures, and the labelled images beside them."""
        step = job.recipe.recover
        assert step is not None
        assert step.images is not None
        pictures = find_images(Path(step.images))
        options = job.exp.predict_options()
        return LabelInputs(
            found[DENSE].path,
            ImageSet(pictures, job.exp.test_size, len(pictures)),
            LabelledSet(job.exp.get_dataset()) if step.labelled else None,
            replace(options, eval_spec=replace(options.eval_spec, conf=step.conf)),
        )

    def run(
        self, given: LabelInputs, workspace: Workspace, interrupted: bool
    ) -> dict[str, Artefact]:
        """Writes `labels.json`, in COCO's form with absolute paths."""
        _, dense, info = workspace.load(given.dense)
        labelled = given.labelled.dataset if given.labelled is not None else None
        if labelled is not None:
            require_same_order(info.class_names, labelled, f"checkpoint {given.dense}")
        backend = TorchBackend(fuse(dense), info, workspace.device)
        source, size_hw = given.pictures.source, given.pictures.size_hw
        batches = square_batches(len(source), size_hw, BATCH)
        found = predict(backend, source, batches, given.options)
        target = workspace.out / self.writes[0]
        write_json(target, training_set(source.paths, found, info, labelled))
        return {LABELS: Artefact(target)}


def training_set(
    paths: list[Path], found: Predicted, info: ModelInfo, labelled: DetectionDataset | None
) -> dict[str, Any]:
    """A COCO dictionary of pictures with a model's detections, and of labelled images after them.

    Raises DataError where nothing was found in any picture.
    """
    if not any(len(part.scores) for part in found.found.values()) and labelled is None:
        raise DataError(
            f"the model finds nothing in the {len(paths)} pictures of {paths[0].parent} "
            "(recover: conf is the least score)"
        )
    assert info.category_ids is not None
    assert info.class_names is not None
    ids, names = (
        (info.category_ids, info.class_names)
        if labelled is None
        else (labelled.category_ids, labelled.class_names)
    )
    images = []
    for number, path in enumerate(paths):
        height, width = found.sizes_hw[number]
        images.append(_image(number, path, width, height))
    boxes = [
        {**box, "area": box["bbox"][2] * box["bbox"][3], "iscrowd": 0}
        for box in to_coco(found.found, range(len(paths)), ids)
    ]
    for place, record in enumerate(labelled.images if labelled is not None else []):
        images.append(_image(len(paths) + place, record.path, record.width, record.height))
    for note in labelled.annotations() if labelled is not None else ():
        boxes.append(
            {
                "image_id": len(paths) + note.image,
                "category_id": ids[note.label],
                "bbox": list(note.box_xywh),
                "area": note.area,
                "iscrowd": int(note.crowd),
            }
        )
    numbers = count(1)
    return {
        "images": images,
        "annotations": [{"id": next(numbers), **box} for box in boxes],
        "categories": [
            {"id": number, "name": name} for number, name in zip(ids, names, strict=True)
        ],
    }


def _image(number: int, path: Path, width: int, height: int) -> dict[str, Any]:
    return {"id": number, "file_name": str(path.resolve()), "width": width, "height": height}

"""Sensitivity of channel groups: curves that are measured once and kept in `sensitivity.json`."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from loguru import logger

from yolox.compress.calibration import CalibrationImages, ImageSet
from yolox.compress.fingerprint import Fingerprints
from yolox.compress.groups import ChannelGroup, Groups
from yolox.compress.importance.curves import Curve, Damage, OutputLoss, measure_curve
from yolox.compress.importance.reconstruction import RIDGE, reader_systems
from yolox.compress.job import CompressionTask
from yolox.compress.selection import ApMeasure, OutputDistance
from yolox.compress.steps import SensitivityStep
from yolox.compress.workspace import Loaded, Workspace
from yolox.data.annotations import load_json
from yolox.errors import DataError
from yolox.files import text_hash, write_json
from yolox.models.copies import copied

SOLVED_ON = 64  # images on which readers are solved anew, at least
FILE = "sensitivity.json"

Curves = dict[str, Curve]  # by group name


@dataclass(frozen=True)
class SensitivityInputs:
    """What curves depend on, but for the group.

    solved_on: how many of the images readers are solved anew on, at least. validation: for the
    metric 'ap'.
    """

    checkpoint: Path
    step: SensitivityStep
    images: ImageSet
    distance: OutputDistance
    test_size: tuple[int, int]
    validation: ApMeasure | None
    solved_on: int = SOLVED_ON
    ridge: float = RIDGE

    @classmethod
    def of(cls, task: CompressionTask, ckpt: Path, step: SensitivityStep) -> "SensitivityInputs":
        """With the images of a task. Raises DataError where they are missing."""
        validation = None
        if step.metric == "ap":
            labelled = task.exp.get_select_dataset() or task.exp.get_eval_dataset()
            validation = task.ap_on(labelled)
        images = task.images(max(step.images, SOLVED_ON))
        return cls(ckpt, step, images, task.distance, task.exp.test_size, validation)


def measured_curves(
    given: SensitivityInputs, dense: Loaded, groups: Groups, workspace: Workspace
) -> Curves:
    """The curve of each group, in the order of the groups.

    What the output folder's `sensitivity.json` has of the same model, images and settings is taken
    from there; the file is written after every group. dense: the checkpoint. Raises DataError where
    images are missing.
    """
    step, device = given.step, workspace.device
    store = CurveStore(workspace.out / FILE, Fingerprints(workspace.out).of(given))
    missing = [group for group in groups.groups if group.name not in store.curves]
    logger.info(
        "sensitivity ({}): {} of {} groups to measure -> {}",
        step.metric,
        len(missing),
        len(groups),
        store.path,
    )
    if missing:
        images = given.images.open(device)
        probe = copied(dense.model).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        systems = reader_systems(probe, Groups(tuple(missing), groups.trace), images)
        damage_of = _damage(given, dense._replace(model=probe), groups, images, device)
        for number, group in enumerate(missing, 1):
            curve = measure_curve(probe, group, systems, step.ratios, damage_of(group))
            store.add(group.name, curve)
            logger.info(
                "{}/{} {}: {}",
                number,
                len(missing),
                group.name,
                " ".join(f"{loss:.4g}" for loss in curve.losses),
            )
    return {group.name: store.curves[group.name] for group in groups.groups}


def _damage(
    given: SensitivityInputs,
    probe: Loaded,
    groups: Groups,
    images: CalibrationImages,
    device: torch.device,
) -> Callable[[ChannelGroup], Damage | None]:
    """What measures the model while a group lacks units."""
    ap = given.validation
    if given.step.metric == "loss":
        few = images.first(given.step.images)
        return OutputLoss(probe.model, groups.trace, few, given.distance.of).of
    if ap is not None:
        dense = ap.of(probe.model, probe.info, device)
        return lambda group: lambda: dense - ap.of(probe.model, probe.info, device)
    return lambda group: None


class CurveStore:
    """The curves in a file. What belongs to other inputs, or is damaged, is dropped and said."""

    def __init__(self, path: Path, inputs: dict[str, Any]):
        self.path, self._inputs = path, inputs
        self.curves: Curves = {}
        if path.is_file():
            try:
                self.curves = self._read()
            except (DataError, KeyError, TypeError, AttributeError) as error:
                logger.warning("{} cannot be used ({}): measured anew", path, error)

    def add(self, name: str, curve: Curve) -> None:
        """Keep one more, in the file too."""
        self.curves[name] = curve
        write_json(
            self.path,
            {
                "inputs_sha256": text_hash(self._inputs),
                "inputs": self._inputs,
                "groups": {name: asdict(curve) for name, curve in self.curves.items()},
            },
            indent=1,
        )

    def _read(self) -> Curves:
        content = load_json(self.path)
        if content["inputs_sha256"] != text_hash(self._inputs):
            changed = [key for key, v in self._inputs.items() if content["inputs"].get(key) != v]
            logger.warning("{}: other {}: measured anew", self.path, " and ".join(changed))
            return {}
        return {
            name: Curve(found["size"], tuple(found["units"]), tuple(found["losses"]))
            for name, found in content["groups"].items()
        }

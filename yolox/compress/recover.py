"""The recover stage: the normal trainer on a masked or pruned checkpoint."""

import copy
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from loguru import logger

from yolox.compress.calibration import LabelledSet
from yolox.compress.fingerprint import Fingerprints
from yolox.compress.job import CompressionJob
from yolox.compress.schedule import announce, automatic_options
from yolox.compress.selection import SelectionRule
from yolox.compress.stage import CONTROL, DENSE, LABELS, Artefact, Artefacts, Source, Stage, latest
from yolox.compress.steps import AdaptStep
from yolox.compress.workspace import Workspace
from yolox.config import nearest
from yolox.data.folder import find_images
from yolox.engine.state import RunOptions
from yolox.engine.train import train
from yolox.errors import DataError, UsageError
from yolox.exp import BaseExp
from yolox.exp.options import option_types
from yolox.files import file_hash
from yolox.values import check_value

# Options of every recovery that the recipe does not set: a first epoch that ruins the model is
# taken back and the rate lowered.
ALWAYS = {"guard": True, "eval_report": False}

CHOOSING = 200  # images of the label stage, at most, that choose the best epoch

# Options of an experiment that change no weight: names and places (contents are compared), what is
# written when, and how many processes read the images.
WITHOUT_EFFECT = (
    "data_dir",
    "train_ann",
    "train_name",
    "val_ann",
    "val_name",
    "test_ann",
    "test_name",
    "select_ann",
    "select_name",
    "data_num_workers",
    "exp_name",
    "output_dir",
    "teacher",
    "eval_report",
    "print_interval",
    "save_interval",
    "save_minutes",
    "save_history_ckpt",
    "keep_latest",
    "data_timeout",
    "allow_outside",
)


def recovery_experiment(job: CompressionJob, labels: Path | None = None) -> BaseExp:
    """The experiment with the recipe's options. Raises UsageError for a wrong option or value.

    labels: training set of the label stage, which takes the place of the experiment's.
    """
    step = job.recipe.recover
    assert step is not None
    tuned = copy.deepcopy(job.exp)
    if labels is not None:
        _learn_from(tuned, labels)
    named = _named(job)
    pictures = len(find_images(Path(step.images))) if step.images else 0
    labelled = len(job.exp.get_dataset()) if step.needs_labels else 0
    found = automatic_options(
        pictures + labelled if labels is None else len(tuned.get_dataset()),
        job.options.batch_size,
        labelled=labelled >= pictures or named.get("teacher", DENSE) is None,
        cut=job.recipe.prune is not None,
        epochs=_epochs(named),
    )
    options = {**found, **ALWAYS, **step.options}
    options = {key: value for key, value in options.items() if key not in job.exp.asked}
    if options.get("teacher") == DENSE:
        options["teacher"] = job.ckpt
    set_options(tuned, options, "recipe: recover")
    tuned.validate()
    return tuned


def _named(job: CompressionJob) -> dict[str, Any]:
    """Options that the recipe or a user names; what a user types comes first."""
    assert job.recipe.recover is not None
    return {**job.recipe.recover.options, **{key: getattr(job.exp, key) for key in job.exp.asked}}


def _epochs(named: Mapping[str, Any]) -> int | None:
    """How many are asked for; None where their number follows from the data."""
    asked = named.get("max_epoch")
    return asked if type(asked) is int and asked > 0 else None


def _learn_from(exp: BaseExp, labels: Path) -> None:
    """Train an experiment on the label stage's images, some of which choose the best epoch.

    Without labelled validation images, these are those that are reported on, too.
    """
    if not exp.data_root().is_dir():
        exp.data_dir = str(labels.parent)
    exp.train_ann, exp.train_name, exp.allow_outside = str(labels.resolve()), "", True
    if exp.select_ann is None:
        exp.select_share = 0.0
        images = len(exp.get_dataset())
        exp.select_share = min(CHOOSING, max(images // 10, 1)) / max(images, 2)
    try:
        exp.get_eval_dataset()
    except DataError as error:
        logger.warning("AP is agreement with the teacher ({})", error)
        exp.val_ann, exp.val_name = exp.train_ann, exp.train_name


@dataclass(frozen=True)
class Training:
    """A fine-tune: the experiment, and how it is run.

    announced: whether how long it will take is measured and said before it begins.
    """

    exp: BaseExp
    options: RunOptions
    announced: bool

    def fingerprint(self, fingerprints: Fingerprints) -> Any:
        """Options, data and teacher. Raises DataError."""
        exp = self.exp
        sets = [exp.get_dataset(), exp.get_select_dataset(), exp.get_eval_dataset()]
        return {
            "options": effective_options(exp),
            "teacher": file_hash(exp.teacher) if exp.teacher else None,
            "data": [fingerprints.of(LabelledSet(one)) for one in sets if one is not None],
            "batch": self.options.batch_size,
            "precision": self.options.precision,
        }


def effective_options(exp: BaseExp) -> dict[str, Any]:
    """The options of an experiment that its results depend on."""
    return {key: value for key, value in exp.options().items() if key not in WITHOUT_EFFECT}


@dataclass(frozen=True)
class TuneInputs:
    """What a fine-tune is given. rule: how the better of before and after is found."""

    source: Source
    dense: Path
    training: Training
    rule: SelectionRule


class _Tuning(Stage):
    """A fine-tune of an artefact; the better of before and after is kept. writes: file, folder."""

    artefact: ClassVar[str]

    @abstractmethod
    def source(self, found: Artefacts) -> Source:
        """What is tuned."""

    def given(self, job: CompressionJob, found: Artefacts) -> TuneInputs:
        """The checkpoint, the training, and how the better one is found."""
        adapted = job.recipe.adapt if job.recipe.adapt is not None else AdaptStep()
        tuned = recovery_experiment(job, found[LABELS].path if LABELS in found else None)
        rule = replace(job, exp=tuned).selection_rule(adapted.images)
        rule = replace(rule, int8=tuned.fake_int8)
        training = Training(tuned, job.options, announced="max_epoch" not in _named(job))
        return TuneInputs(self.source(found), found[DENSE].path, training, rule)

    def run(
        self, given: TuneInputs, workspace: Workspace, interrupted: bool
    ) -> dict[str, Artefact]:
        """Writes the checkpoint, whose experiment stays that of its source."""
        file, folder = self.writes
        source, device = given.source.path, workspace.device
        former, before, info = workspace.load(source)
        dense = before if source == given.dense else workspace.load(given.dense).model
        best = tune(given.training, source, workspace.out / folder, interrupted)
        content, after, _ = workspace.load(best)
        kept = given.rule.select({"before": before, "after": after}, dense, info, device)
        if kept.name == "before":
            logger.warning("{}: training made the model no better, it is left as it was", self.name)
        masks, channels = content.get("masks", {}), content.get("channels")
        content = {**content, "exp": former["exp"]}
        path = workspace.save(file, content, kept.model, masks, channels, kept.as_json())
        return {self.artefact: Artefact(path, given.source.name)}


class RecoverStage(_Tuning):
    """Tune what is left with the normal trainer."""

    name = "recover"
    artefact = "recovered"
    writes = ("recovered.pth", "recover")

    def is_asked(self, job: CompressionJob) -> bool:
        """Where the recipe has options for it."""
        return job.recipe.recover is not None

    def source(self, found: Artefacts) -> Source:
        """The latest checkpoint."""
        return latest(found, before="recovered")


class ControlStage(_Tuning):
    """Tune the dense model as the compressed one was: what the others are to be compared with."""

    name = "control"
    artefact = CONTROL
    writes = ("control.pth", "control")

    def is_asked(self, job: CompressionJob) -> bool:
        """Where the job asks for it."""
        return job.control

    def source(self, found: Artefacts) -> Source:
        """The dense checkpoint."""
        return Source(DENSE, found[DENSE].path)


def tune(training: Training, source: Path, folder: Path, interrupted: bool) -> Path:
    """Fine-tune a checkpoint; returns the best one, whose masks and channels are the source's.

    interrupted: an earlier try was; it goes on from its last checkpoint, if it has one. Other tries
    are moved aside.
    """
    tuned = copy.deepcopy(training.exp)
    tuned.output_dir, tuned.exp_name = str(folder.parent), folder.name
    resume = interrupted and (folder / "latest_ckpt.pth").is_file()
    if not resume:
        set_aside(folder)
    options = replace(training.options, ckpt=None if resume else str(source), resume=resume)
    if training.announced and not resume:
        announce(tuned, options)
    result = train(tuned, options)
    return result.folder / "best_ckpt.pth"


def set_aside(folder: Path) -> None:
    """Rename a folder of an earlier try to NAME.1, NAME.2 and so on; nothing is deleted."""
    if not folder.exists():
        return
    number = 1
    while (target := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(target)
    logger.info("an earlier try was moved to {}", target)


def set_options(exp: BaseExp, values: Mapping[str, Any], where: str) -> None:
    """Set attributes of an experiment, checked. Raises UsageError naming the key."""
    known = option_types(exp)
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{where}: unknown option {key!r}{nearest(key, list(known))}")
        value = tuple(value) if isinstance(value, list) else value
        check_value(f"{where}: {key}", value, known[key])
        setattr(exp, key, value)

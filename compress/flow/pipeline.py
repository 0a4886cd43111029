"""The whole compression: mask, plan, prune, adapt, recover, merge, evaluate.

Every stage reads what the ones before it wrote and leaves its own artefact; a run that was stopped
after any of them goes on there.
"""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import nn

from compress.choose.latency import Stopwatch, misses, plan_for_latency
from compress.choose.masks import draw_masks, kept_share
from compress.choose.plan import Plan, Planner, PruneStep, require_reachable
from compress.fit.adapt import AdaptStep, Student, adapt, least_squares
from compress.fit.images import CalibrationImages
from compress.flow.gradients import loss_gradients
from compress.flow.ledger import Files, Ledger
from compress.flow.measure import Measuring, Stage, measure_stages
from compress.flow.recipe import Recipe
from compress.flow.recover import recover, tuning_experiment
from compress.flow.report import stage_table, write_report
from compress.flow.source import load_trainable
from compress.scores.channels import CHANNEL_CRITERIA, Evidence, Scores
from compress.structure.cost import CostModel
from compress.structure.groups import Groups, find_groups, group_table, kept_channels, kept_units
from compress.structure.merge import merge
from yolox.data.coco import load_json
from yolox.data.folder import find_images
from yolox.engine import checkpoint
from yolox.engine.checkpoint import lean
from yolox.engine.masks import apply_masks
from yolox.engine.state import RunOptions
from yolox.errors import UsageError, YoloxError
from yolox.eval.predict import ImageSource
from yolox.exp import Exp
from yolox.export.open import describe
from yolox.files import file_hash, write_json
from yolox.models.channels import compose, cut_channels, cut_masks

STAGES = ("mask", "plan", "prune", "adapt", "recover", "merge", "evaluate")
LARGEST_SHARE = 1 - 1e-9  # a budget is less than all
DENSE = "dense"  # as a recipe names the checkpoint that is compressed


@dataclass(frozen=True)
class Job:
    """What to compress (a checkpoint, and the experiment it belongs to), how, and where to.

    calibration: folder of images (None: the experiment's training images). start: the stage from
    which all are done anew, whatever was done before.
    """

    ckpt: str
    exp: Exp
    recipe: Recipe
    out: Path
    options: RunOptions
    until: str = "evaluate"
    start: str | None = None
    evaluated: bool = True
    calibration: str | None = None
    backends: tuple[str, ...] = ("torch",)
    resamples: int = 200


def compress(job: Job) -> list[Stage]:
    """Run the stages up to `until`; returns the rows of the report where it was made."""
    if job.evaluated and job.until == "evaluate":
        job.exp.get_eval_dataset()  # a missing data set is noticed before the work, not after it
    work = _Work(job)
    work.check_images()
    again = STAGES[STAGES.index(job.start) :] if job.start else ()
    ledger = Ledger(job.out, again)
    files: Files = {DENSE: Path(job.ckpt)}
    for name in STAGES[: STAGES.index(job.until) + 1]:
        if name != "evaluate" and work.wants(name):
            files.update(ledger.run(name, work.inputs(name, files), work.bound(name, files)))
    if job.until != "evaluate":
        return []
    return _evaluate(work, ledger, files)


class _Work:
    """The stages of one job and what they share, made when it is first needed."""

    def __init__(self, job: Job):
        self.job, self.recipe, self.exp = job, job.recipe, job.exp
        self._tuned = (
            tuning_experiment(job.exp, self._recovery(), job.out) if job.recipe.recover else None
        )

    def check_images(self) -> None:
        """Notice missing calibration images before the work. Raises DataError."""
        recipe = self.recipe
        steps = [(s.images, s.criterion) for s in (recipe.mask, recipe.prune) if s is not None]
        if any(_needs_images(criterion) for _, criterion in steps) or (
            recipe.adapt is not None and _looks(recipe.adapt)
        ):
            self._source  # noqa: B018 - made, and so checked

    def wants(self, name: str) -> bool:
        """Whether the recipe has this stage."""
        recipe = self.recipe
        sections = {
            "mask": recipe.mask, "plan": recipe.prune, "prune": recipe.prune,
            "adapt": recipe.adapt, "recover": recipe.recover or None, "merge": recipe.merge,
        }  # fmt: skip
        return sections[name] is not None

    def inputs(self, name: str, files: Files) -> dict[str, Any]:
        """Everything that the result of a stage depends on."""
        given: dict[str, Any] = {
            "files": {key: file_hash(path) for key, path in files.items() if path.suffix == ".pth"},
            "test_size": list(self.exp.test_size),
        }
        recipe = asdict(self.recipe)
        if name in ("mask", "plan", "adapt"):
            source = self.job.calibration or self.exp.options()
            given |= {"calibration": source, "mask": recipe["mask"]}
        if name in ("plan", "prune"):
            given |= {"prune": recipe["prune"]}
        if name == "prune":
            given |= {"plan": file_hash(files["plan"])}
        if name in ("adapt", "recover", "merge"):
            given |= {name: recipe[name]}
        if name == "recover":
            options = self.job.options
            given |= {"batch": options.batch_size, "precision": options.precision}
            given |= {"exp": self.exp.options()}
        return given

    def bound(self, name: str, files: Files) -> Callable[[bool], Files]:
        """The stage as a function of whether it had begun before."""
        stage: Callable[[Files, bool], Files] = getattr(self, name)
        return lambda begun: stage(files, begun)

    # stages

    def mask(self, files: Files, begun: bool) -> Files:
        """Draw the weight masks of the dense model."""
        assert self.recipe.mask is not None
        content, model = self._load(files[DENSE])
        images = self._images(self.recipe.mask.images, self.recipe.mask.criterion)
        masks = draw_masks(model, self.recipe.mask, images)
        apply_masks(model, masks)
        logger.info("{:.1%} of the weights of {} layers kept", kept_share(masks), len(masks))
        return {"masked": self._save("mask.pth", content, model, masks, content.get("channels"))}

    def plan(self, files: Files, begun: bool) -> Files:
        """Choose the channels."""
        step = self.recipe.prune
        assert step is not None
        content, model = self._load(files[DENSE])
        masks = checkpoint.read(files["masked"])["masks"] if "masked" in files else {}
        groups = find_groups(model, self.exp.test_size, step.exclude)
        facts: dict[str, Any] = {}
        failure = ""
        if step.is_latency:
            planner = Planner(groups, self._scores(model, groups, masks, step), step)
            restored = checkpoint.restore_content(content, files[DENSE])
            watch = Stopwatch(
                model, describe(restored), step, self.exp.test_size, self.job.options.device
            )
            timed = plan_for_latency(planner, model, watch, step)
            facts = {"ms": timed.ms, "dense_ms": timed.dense_ms, "ratio": timed.ratio}
            plan, failure = timed.plan, misses(timed, step)
        else:
            plan = self._plan_in_rounds(model, groups, masks, step)
        target = self.job.out / "plan.json"
        write_json(target, _plan_json(plan, groups, step, facts), indent=2)
        logger.info(
            "plan: {:.1%} of the parameters, {:.1%} of the MACs\n{}",
            plan.params_left, plan.macs_left, group_table(groups, plan.kept),
        )  # fmt: skip
        if failure:
            raise YoloxError(failure)
        return {"plan": target}

    def prune(self, files: Files, begun: bool) -> Files:
        """Cut the channels."""
        assert self.recipe.prune is not None
        content, model = self._load(files[DENSE])
        groups = find_groups(model, self.exp.test_size, self.recipe.prune.exclude)
        channels = kept_channels(groups, _kept_units(files["plan"], groups))
        small = cut_channels(model, channels)
        whole = compose(content.get("channels", {}), channels)
        return {"pruned": self._save("pruned.pth", content, small, {}, whole)}

    def adapt(self, files: Files, begun: bool) -> Files:
        """Fit what is left to the dense model's answers."""
        step = self.recipe.adapt
        assert step is not None
        content, dense = self._load(files[DENSE])
        source = files.get("pruned", files.get("masked"))
        assert source is not None  # a recipe masks or prunes
        smaller, model = self._load(source)
        relative = _relative(content.get("channels", {}), smaller.get("channels", {}))
        student = Student(model, dense, relative, smaller.get("masks", {}))
        images = self._images(step.images, "adaptation") if _looks(step) else None
        trace = find_groups(dense, self.exp.test_size).trace
        found = adapt(student, trace, images, step)
        last = list(found.values())[-1] if found else model
        masks = student.masks
        if self.recipe.mask is not None and "pruned" in files:  # the share holds for what is left
            masks = draw_masks(last, self.recipe.mask, images)
            both = copy.deepcopy(last)
            apply_masks(both, masks)
            if step.least_squares and images is not None:
                student = Student(both, dense, relative, masks)
                both = least_squares(student, trace, images, step.ridge)
            last = both
        written: Files = {}
        for name, part in found.items():
            if part is not last:
                written[name] = self._save(
                    f"parts/{name}.pth", smaller, part, smaller.get("masks", {}),
                    smaller.get("channels"),
                )  # fmt: skip
        target = self._save("adapted.pth", smaller, last, masks, smaller.get("channels"))
        return {**written, "adapted": target}

    def recover(self, files: Files, begun: bool) -> Files:
        """Tune what is left with the normal trainer."""
        assert self._tuned is not None
        source = _latest(files, "adapted", "pruned", "masked")
        return {"recovered": recover(self._tuned, source, self.job.options, begun)}

    def merge(self, files: Files, begun: bool) -> Files:
        """Fuse, multiply the masks in, and store the result sparsely."""
        content, model = self._load(_latest(files, "recovered", "adapted", "pruned", "masked"))
        merged = merge(content, model, self.recipe.merge)
        target = self.job.out / "merged.pth"
        checkpoint.save(target, merged)
        logger.info("{} values not zero -> {}", merged["nonzero_params"], target)
        return {"merged": target}

    # what stages share

    def _plan_in_rounds(
        self, model: nn.Module, groups: Groups, masks: dict[str, torch.Tensor], step: PruneStep
    ) -> Plan:
        """The plan for a budget of parameters or MACs."""
        name, share = step.budget
        require_reachable(groups, step)
        dense = CostModel(groups).dense()
        channels: dict[str, dict[str, list[int]]] = {}
        current, small = model, groups
        for number in range(1, step.rounds + 1):
            wanted = 1 - (1 - share) * number / step.rounds
            left = wanted * getattr(dense, name) / getattr(CostModel(small).dense(), name)
            now = replace(step, **{name: min(left, LARGEST_SHARE)})
            own = cut_masks(masks, model, channels)
            plan = Planner(small, self._scores(current, small, own, step), now).within(name, left)
            channels = compose(channels, kept_channels(small, plan.kept))
            if number < step.rounds:
                student = Student(cut_channels(model, channels), model, channels, {})
                images = self._images(step.images, "adaptation")
                assert images is not None
                current = least_squares(student, groups.trace, images)
                small = find_groups(current, self.exp.test_size, step.exclude)
        kept = kept_units(groups, channels)
        return Plan(kept, CostModel(groups).after(kept), dense)

    def _scores(
        self, model: nn.Module, groups: Groups, masks: dict[str, torch.Tensor], step: PruneStep
    ) -> Scores:
        images = self._images(step.images, step.criterion)
        gradients = None
        if step.criterion == "taylor":
            gradients = lambda: loss_gradients(model, self.exp, step.images)  # noqa: E731
        evidence = Evidence(model, groups, masks, images, gradients, seed=self.exp.seed)
        return CHANNEL_CRITERIA[step.criterion](evidence)

    def _images(self, count: int, purpose: str) -> CalibrationImages | None:
        """Calibration images, for criteria and fits that look at any."""
        if not _needs_images(purpose):
            return None
        return CalibrationImages(self._source, self.exp.test_size, count, self.job.options.device)

    @cached_property
    def _source(self) -> ImageSource:
        if self.job.calibration:
            return find_images(Path(self.job.calibration))
        return self.exp.get_dataset()

    def _recovery(self) -> dict[str, Any]:
        options = dict(self.recipe.recover)
        if options.get("teacher") == DENSE:
            options["teacher"] = self.job.ckpt
        return options

    def _load(self, path: Path) -> tuple[dict[str, Any], nn.Module]:
        content, model = load_trainable(str(path), self.exp.detector_spec())
        content.setdefault("exp", self.exp.origin())
        return content, model.to(self.job.options.device)

    def _save(
        self, name: str, content: dict[str, Any], model: nn.Module, masks: Any, channels: Any
    ) -> Path:
        """A trainable checkpoint without training state."""
        weights = {key: value.cpu() for key, value in model.state_dict().items()}
        path = self.job.out / name
        new = {"model": weights, "masks": dict(masks), "channels": channels or {}}
        checkpoint.save(path, {**lean(content), **new})
        return path


def _evaluate(work: _Work, ledger: Ledger, files: Files) -> list[Stage]:
    job = work.job
    paths = {name: path for name, path in files.items() if path.suffix == ".pth"}
    how = Measuring(job.options.device, job.backends, job.evaluated, job.resamples)
    stages = measure_stages(paths, job.exp, how)
    facts = {
        "recipe": asdict(job.recipe),
        "exp": {"name": job.exp.exp_name, "options": job.exp.options()},
        "checkpoint": {"path": job.ckpt, "sha256": file_hash(job.ckpt)},
        "runs": ledger.notes(),
    }
    write_report(job.out / "report.json", stages, facts)
    logger.info("report: {}\n{}", job.out / "report.json", stage_table(stages))
    return stages


def _latest(files: Files, *names: str) -> Path:
    return next(files[name] for name in names if name in files)


def _needs_images(purpose: str) -> bool:
    return purpose in ("output", "activation", "adaptation")


def _looks(step: AdaptStep) -> bool:
    return step.least_squares or step.recalibrate


def _relative(before: Any, after: Any) -> Any:
    """The channels of a pruned model, counted in the model that it was made from."""
    relative: dict[str, dict[str, list[int]]] = {}
    for layer, sides in after.items():
        for side, kept in sides.items():
            had = before.get(layer, {}).get(side)
            place = None if had is None else {channel: i for i, channel in enumerate(had)}
            own = kept if place is None else [place[channel] for channel in kept]
            relative.setdefault(layer, {})[side] = own
    return relative


def _plan_json(plan: Plan, groups: Groups, step: PruneStep, facts: Any) -> dict[str, Any]:
    return {
        "budget": dict([step.budget]),
        "criterion": step.criterion,
        "ranking": step.ranking,
        "params": plan.cost.params, "params_left": plan.params_left,
        "macs": plan.cost.macs, "macs_left": plan.macs_left,
        "measured": facts,
        "groups": [
            {
                "name": group.name, "size": group.size, "kept": plan.kept[group.name],
                "layers": sorted({member.layer for member in group.members}),
            }
            for group in groups.groups
        ],
    }  # fmt: skip


def _kept_units(path: Path, groups: Groups) -> dict[str, list[int]]:
    """The kept units of a plan file. Raises UsageError where it does not fit the model."""
    known = {group.name: group.size for group in groups.groups}
    kept = {}
    for entry in load_json(path)["groups"]:
        name = entry["name"]
        if known.get(name) != entry["size"]:
            raise UsageError(f"{path}: group {name} of {entry['size']} is not one of this model's")
        kept[name] = entry["kept"]
    return kept

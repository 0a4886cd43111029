"""The whole compression: mask, tune, merge, evaluate. Every stage leaves one artefact."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from loguru import logger

from compress.mask import (
    criterion_by_name,
    kept_share,
    load_dense,
    make_masks,
    mask_checkpoint,
    maskable_weights,
)
from compress.measure import Stage, measure_stages
from compress.merge import Storage, merge
from compress.recipe import Recipe
from compress.recover import recover, tuning_experiment
from compress.report import stage_table, write_report
from yolox.engine import checkpoint
from yolox.engine.state import RunOptions
from yolox.exp import Exp
from yolox.files import file_hash

STAGES = ("mask", "tune", "merge", "evaluate")


@dataclass(frozen=True)
class Job:
    """What to compress (a checkpoint, and the experiment it belongs to), how, and where to."""

    ckpt: str
    exp: Exp
    recipe: Recipe
    out: Path
    options: RunOptions
    until: str = "evaluate"
    evaluated: bool = True


def compress(job: Job) -> list[Stage]:
    """Run the stages up to `until`; returns the rows of the report where it was made."""
    if job.evaluated and job.until == "evaluate":
        job.exp.get_eval_dataset()  # a missing data set is noticed before the work, not after it
    tuned = tuning_experiment(job.exp, job.recipe.tune, job.out) if job.recipe.tune else None
    last = STAGES.index(job.until)
    paths = {"dense": Path(job.ckpt), "masked": _mask(job)}
    if last >= 1 and tuned is not None:
        paths["tuned"] = recover(tuned, paths["masked"], job.options)
    if last >= 2:
        paths["merged"] = _merge(job, paths.get("tuned", paths["masked"]))
    if last < 3:
        return []
    stages = measure_stages(paths, job.exp, job.options.device, job.evaluated)
    facts = {
        "recipe": asdict(job.recipe),
        "exp": {"name": job.exp.exp_name, "options": job.exp.options()},
        "checkpoint": {"path": job.ckpt, "sha256": file_hash(job.ckpt)},
    }
    write_report(job.out / "report.json", stages, facts)
    logger.info("report: {}\n{}", job.out / "report.json", stage_table(stages))
    return stages


def _mask(job: Job) -> Path:
    content, model = load_dense(job.ckpt, job.exp.detector_spec())
    content["exp"] = job.exp.origin()
    weights = maskable_weights(model, job.recipe.exclude)
    masks = make_masks(weights, job.recipe.share, criterion_by_name(job.recipe.criterion))
    target = job.out / "mask.pth"
    checkpoint.save(target, mask_checkpoint(content, model, masks))
    logger.info(
        "{:.1%} of the weights of {} layers kept -> {}", kept_share(masks), len(masks), target
    )
    return target


def _merge(job: Job, source: Path) -> Path:
    content, model = load_dense(str(source), job.exp.detector_spec())
    merged = merge(content, model, Storage(job.recipe.encoding, job.recipe.values))
    target = job.out / "merged.pth"
    checkpoint.save(target, merged)
    logger.info("{} values not zero -> {}", merged["nonzero_params"], target)
    return target


def with_overrides(recipe: Recipe, **changes: object) -> Recipe:
    """A recipe with the given keys changed; None leaves a key as it is."""
    return replace(recipe, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]

"""The stages that make one checkpoint of another.

Each takes what was written so far, and whether it had begun before and was interrupted; it returns
what it wrote, by the name of the report's row.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from loguru import logger
from torch import Tensor, nn

from compress.choose.masks import MaskStep, draw_masks, kept_share
from compress.fit.adapt import adapt
from compress.flow.job import DENSE, PLAN, Bench
from compress.flow.ledger import Files
from compress.flow.planning import read_plan
from compress.flow.recover import recover, tuning_experiment
from compress.flow.student import fitting, load_student
from compress.structure.groups import find_groups, kept_channels
from compress.structure.merge import merge
from yolox.engine import checkpoint
from yolox.engine.masks import apply_masks, within
from yolox.exp import Exp
from yolox.models.channels import compose, cut_channels, cut_masks


def mask_stage(bench: Bench, files: Files, begun: bool) -> Files:
    """Draw the weight masks of the dense model."""
    assert bench.recipe.mask is not None
    content, model = bench.load(files[DENSE])
    masks = within(_draw(bench, bench.recipe.mask, model), content.get("masks", {}))
    apply_masks(model, masks)
    logger.info("{:.1%} of the weights of {} layers kept", kept_share(masks), len(masks))
    return {"masked": bench.save("mask.pth", content, model, masks, content.get("channels"))}


def prune_stage(bench: Bench, files: Files, begun: bool) -> Files:
    """Cut the channels.

    Masks are cut likewise; those of the mask stage only where the adaptation draws no others.
    """
    assert bench.recipe.prune is not None
    content, model = bench.load(files[DENSE])
    groups = find_groups(model, bench.exp.test_size, bench.recipe.prune.exclude)
    channels = kept_channels(groups, read_plan(files[PLAN], groups))
    small = cut_channels(model, channels)
    masks = content.get("masks", {})
    if "masked" in files and bench.recipe.adapt is None:
        masks = checkpoint.read(files["masked"])["masks"]
    masks = cut_masks(masks, model, channels)
    apply_masks(small, masks)
    whole = compose(content.get("channels", {}), channels)
    return {"pruned": bench.save("pruned.pth", content, small, masks, whole)}


def adapt_stage(bench: Bench, files: Files, begun: bool) -> Files:
    """Fit what is left to the dense model's answers."""
    step = bench.recipe.adapt
    assert step is not None
    smaller, student = load_student(bench, _latest(files, "pruned", "masked"), files[DENSE])
    trace, images = fitting(bench, student, step)
    if bench.recipe.mask is None or "pruned" not in files:
        found = adapt(student, trace, images, step)
        last, masks = _last(found, student.model), student.masks
    else:  # the share holds for what is left
        found = adapt(student, trace, images, replace(step, recalibrate=False))
        last = copy.deepcopy(_last(found, student.model))
        masks = within(_draw(bench, bench.recipe.mask, last), student.masks)
        apply_masks(last, masks)
        masked = replace(student, model=last, masks=masks)
        last = _last(adapt(masked, trace, images, replace(step, fold=False)), last)
    written: Files = {}
    for name, part in found.items():
        if part is not last:
            written[name] = bench.save(
                f"parts/{name}.pth", smaller, part, smaller.get("masks", {}),
                smaller.get("channels"),
            )  # fmt: skip
    target = bench.save("adapted.pth", smaller, last, masks, smaller.get("channels"))
    return {**written, "adapted": target}


def recover_stage(bench: Bench, files: Files, begun: bool) -> Files:
    """Tune what is left with the normal trainer. The experiment stays the one it was before."""
    source = _latest(files, "adapted", "pruned", "masked")
    best = recover(tuned(bench), source, bench.job.options, begun)
    content, model = bench.load(best)
    content["exp"] = checkpoint.read(source)["exp"]
    masks, channels = content.get("masks", {}), content.get("channels")
    return {"recovered": bench.save("recovered.pth", content, model, masks, channels)}


def tuned(bench: Bench) -> Exp:
    """The experiment of the recovery. Raises UsageError for a wrong option."""
    options = dict(bench.recipe.recover)
    if options.get("teacher") == DENSE:
        options["teacher"] = bench.job.ckpt
    return tuning_experiment(bench.exp, options, bench.job.out)


def merge_stage(bench: Bench, files: Files, begun: bool) -> Files:
    """Fuse, multiply the masks in, and store the result sparsely."""
    content, model = bench.load(_latest(files, "recovered", "adapted", "pruned", "masked"))
    merged = merge(content, model, bench.recipe.merge)
    target = bench.job.out / "merged.pth"
    checkpoint.save(target, merged)
    logger.info("{} values not zero -> {}", merged["nonzero_params"], target)
    return {"merged": target}


def _last(found: Mapping[str, nn.Module], otherwise: nn.Module) -> nn.Module:
    return list(found.values())[-1] if found else otherwise


def _latest(files: Files, *names: str) -> Path:
    return next(files[name] for name in names if name in files)


def _draw(bench: Bench, step: MaskStep, model: nn.Module) -> dict[str, Tensor]:
    return draw_masks(model, step, bench.images(step.images) if step.looks else None)

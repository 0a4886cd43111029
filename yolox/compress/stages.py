"""The stages that make one checkpoint of another.

Each takes what was written so far, and whether it had begun before and was interrupted; it returns
what it wrote, by the name of the report's row.
"""

import copy
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from loguru import logger
from torch import Tensor

from yolox.compress.adapt import fitting, load_student
from yolox.compress.groups import find_groups, kept_channels
from yolox.compress.least_squares import adapt
from yolox.compress.ledger import Files
from yolox.compress.mask import draw_masks, kept_share
from yolox.compress.merge import merge
from yolox.compress.plan import read_plan
from yolox.compress.recover import recover
from yolox.compress.selection import Selector
from yolox.compress.steps import MaskStep
from yolox.compress.workspace import CONTROL, DENSE, PLAN, WRITTEN, Workspace
from yolox.engine import checkpoint
from yolox.engine.masks import apply_masks, within
from yolox.models.channels import compose, cut_channels, cut_masks
from yolox.models.network import Network


def mask_stage(workspace: Workspace, files: Files, begun: bool) -> Files:
    """Draw the weight masks of the dense model."""
    assert workspace.recipe.mask is not None
    content, model = workspace.load(files[DENSE])
    masks = within(_draw(workspace, workspace.recipe.mask, model), content.get("masks", {}))
    apply_masks(model, masks)
    logger.info("{:.1%} of the weights of {} layers kept", kept_share(masks), len(masks))
    return {"masked": workspace.save("mask.pth", content, model, masks, content.get("channels"))}


def prune_stage(workspace: Workspace, files: Files, begun: bool) -> Files:
    """Cut the channels.

    Masks are cut likewise; those of the mask stage only where the adaptation draws no others.
    """
    assert workspace.recipe.prune is not None
    content, model = workspace.load(files[DENSE])
    groups = find_groups(model, workspace.exp.test_size, workspace.recipe.prune.exclude)
    channels = kept_channels(groups, read_plan(files[PLAN], groups))
    small = cut_channels(model, channels)
    masks = content.get("masks", {})
    if "masked" in files and workspace.recipe.adapt is None:
        masks = checkpoint.read(files["masked"])["masks"]
    masks = cut_masks(masks, model, channels)
    apply_masks(small, masks)
    whole = compose(content.get("channels", {}), channels)
    return {"pruned": workspace.save("pruned.pth", content, small, masks, whole)}


def adapt_stage(workspace: Workspace, files: Files, begun: bool) -> Files:
    """Fit what is left to the dense model's answers; a part that makes it worse is not kept."""
    step = workspace.recipe.adapt
    assert step is not None
    start = "pruned" if "pruned" in files else "masked"
    smaller, student = load_student(workspace, files[start], files[DENSE])
    trace, images = fitting(workspace, student, step)
    judge = Selector(workspace, student.dense, images)
    drawn_anew = workspace.recipe.mask is not None and start == "pruned"
    first = replace(step, recalibrate=False) if drawn_anew else step
    parts = {start: student.model, **adapt(student, trace, images, first)}
    choice, masks = judge.best(parts), student.masks
    if drawn_anew and workspace.recipe.mask is not None:  # the share holds for what is left
        last = copy.deepcopy(choice.model)
        masks = within(_draw(workspace, workspace.recipe.mask, last), student.masks)
        apply_masks(last, masks)
        masked = replace(student, model=last, masks=masks)
        refitted = adapt(masked, trace, images, replace(step, fold=False))
        choice = judge.best({"masked": last, **refitted})
    written: Files = {}
    for name, part in parts.items():
        if name != start and part is not choice.model:
            former = smaller.get("masks", {})
            written[name] = workspace.save(
                f"parts/{name}.pth", smaller, part, former, smaller.get("channels")
            )
    target = workspace.save(
        "adapted.pth", smaller, choice.model, masks, smaller.get("channels"), choice.as_json()
    )
    return {**written, "adapted": target}


def recover_stage(workspace: Workspace, files: Files, begun: bool) -> Files:
    """Tune what is left with the normal trainer, and keep the better of before and after."""
    source = files[latest_name(files, before="recovered")]
    return {"recovered": _tuned(workspace, files, source, "recover", begun)}


def control_stage(workspace: Workspace, files: Files, begun: bool) -> Files:
    """Tune the dense model as the compressed one was: what the others are to be compared with."""
    return {CONTROL: _tuned(workspace, files, files[DENSE], CONTROL, begun)}


def _tuned(workspace: Workspace, files: Files, source: Path, stage: str, begun: bool) -> Path:
    """The better of a checkpoint and what a fine-tune makes of it. Its experiment stays."""
    best = recover(workspace, source, stage, begun)
    former, before = workspace.load(source)
    content, after = workspace.load(best)
    dense = before if source == files[DENSE] else workspace.load(files[DENSE])[1]
    images = (
        None
        if workspace.selection_set is not None
        else workspace.images(workspace.selection_images)
    )
    choice = Selector(workspace, dense, images).best({"before": before, "after": after})
    if choice.name == "before":
        logger.warning("{}: training made the model no better, it is left as it was", stage)
    masks, channels = content.get("masks", {}), content.get("channels")
    content = {**content, "exp": former["exp"]}
    return workspace.save(
        WRITTEN[stage][0], content, choice.model, masks, channels, choice.as_json()
    )


def merge_stage(workspace: Workspace, files: Files, begun: bool) -> Files:
    """Fuse, multiply the masks in, and store the result sparsely."""
    content, model = workspace.load(files[latest_name(files, before="merged")])
    merged = merge(content, model, workspace.recipe.merge)
    target = workspace.job.out / "merged.pth"
    checkpoint.save(target, merged)
    logger.info("{} values not zero -> {}", merged["nonzero_params"], target)
    return {"merged": target}


def latest_name(files: Iterable[str], before: str) -> str:
    """What a recovery or a merge starts from."""
    order = ("masked", "pruned", "adapted", "recovered", "merged")
    there = set(files)
    return next(name for name in reversed(order[: order.index(before)]) if name in there)


def _draw(workspace: Workspace, step: MaskStep, model: Network) -> dict[str, Tensor]:
    images = workspace.images(step.images) if step.needs_images else None
    return draw_masks(model, step, images, workspace.distance)

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

from compress.choose.masks import MaskStep, draw_masks, kept_share
from compress.fit.adapt import adapt
from compress.flow.choice import Judge
from compress.flow.job import CONTROL, DENSE, PLAN, WRITTEN, Workspace
from compress.flow.ledger import Files
from compress.flow.planning import read_plan
from compress.flow.recover import recover
from compress.flow.student import fitting, load_student
from compress.structure.groups import find_groups, kept_channels
from compress.structure.merge import merge
from yolox.engine import checkpoint
from yolox.engine.masks import apply_masks, within
from yolox.models.channels import compose, cut_channels, cut_masks
from yolox.models.network import Network


def mask_stage(space: Workspace, files: Files, begun: bool) -> Files:
    """Draw the weight masks of the dense model."""
    assert space.recipe.mask is not None
    content, model = space.load(files[DENSE])
    masks = within(_draw(space, space.recipe.mask, model), content.get("masks", {}))
    apply_masks(model, masks)
    logger.info("{:.1%} of the weights of {} layers kept", kept_share(masks), len(masks))
    return {"masked": space.save("mask.pth", content, model, masks, content.get("channels"))}


def prune_stage(space: Workspace, files: Files, begun: bool) -> Files:
    """Cut the channels.

    Masks are cut likewise; those of the mask stage only where the adaptation draws no others.
    """
    assert space.recipe.prune is not None
    content, model = space.load(files[DENSE])
    groups = find_groups(model, space.exp.test_size, space.recipe.prune.exclude)
    channels = kept_channels(groups, read_plan(files[PLAN], groups))
    small = cut_channels(model, channels)
    masks = content.get("masks", {})
    if "masked" in files and space.recipe.adapt is None:
        masks = checkpoint.read(files["masked"])["masks"]
    masks = cut_masks(masks, model, channels)
    apply_masks(small, masks)
    whole = compose(content.get("channels", {}), channels)
    return {"pruned": space.save("pruned.pth", content, small, masks, whole)}


def adapt_stage(space: Workspace, files: Files, begun: bool) -> Files:
    """Fit what is left to the dense model's answers; a part that makes it worse is not kept."""
    step = space.recipe.adapt
    assert step is not None
    start = "pruned" if "pruned" in files else "masked"
    smaller, student = load_student(space, files[start], files[DENSE])
    trace, images = fitting(space, student, step)
    judge = Judge(space, student.dense, images)
    drawn_anew = space.recipe.mask is not None and start == "pruned"
    first = replace(step, recalibrate=False) if drawn_anew else step
    parts = {start: student.model, **adapt(student, trace, images, first)}
    choice, masks = judge.best(parts), student.masks
    if drawn_anew and space.recipe.mask is not None:  # the share holds for what is left
        last = copy.deepcopy(choice.model)
        masks = within(_draw(space, space.recipe.mask, last), student.masks)
        apply_masks(last, masks)
        masked = replace(student, model=last, masks=masks)
        refitted = adapt(masked, trace, images, replace(step, fold=False))
        choice = judge.best({"masked": last, **refitted})
    written: Files = {}
    for name, part in parts.items():
        if name != start and part is not choice.model:
            former = smaller.get("masks", {})
            written[name] = space.save(
                f"parts/{name}.pth", smaller, part, former, smaller.get("channels")
            )
    target = space.save(
        "adapted.pth", smaller, choice.model, masks, smaller.get("channels"), choice.as_json()
    )
    return {**written, "adapted": target}


def recover_stage(space: Workspace, files: Files, begun: bool) -> Files:
    """Tune what is left with the normal trainer, and keep the better of before and after."""
    source = files[latest_name(files, before="recovered")]
    return {"recovered": _tuned(space, files, source, "recover", begun)}


def control_stage(space: Workspace, files: Files, begun: bool) -> Files:
    """Tune the dense model as the compressed one was: what the others are to be compared with."""
    return {CONTROL: _tuned(space, files, files[DENSE], CONTROL, begun)}


def _tuned(space: Workspace, files: Files, source: Path, stage: str, begun: bool) -> Path:
    """The better of a checkpoint and what a fine-tune makes of it. Its experiment stays."""
    best = recover(space, source, stage, begun)
    former, before = space.load(source)
    content, after = space.load(best)
    dense = before if source == files[DENSE] else space.load(files[DENSE])[1]
    images = None if space.choice_set is not None else space.images(space.judging_images)
    choice = Judge(space, dense, images).best({"before": before, "after": after})
    if choice.name == "before":
        logger.warning("{}: training made the model no better, it is left as it was", stage)
    masks, channels = content.get("masks", {}), content.get("channels")
    content = {**content, "exp": former["exp"]}
    return space.save(WRITTEN[stage][0], content, choice.model, masks, channels, choice.as_json())


def merge_stage(space: Workspace, files: Files, begun: bool) -> Files:
    """Fuse, multiply the masks in, and store the result sparsely."""
    content, model = space.load(files[latest_name(files, before="merged")])
    merged = merge(content, model, space.recipe.merge)
    target = space.job.out / "merged.pth"
    checkpoint.save(target, merged)
    logger.info("{} values not zero -> {}", merged["nonzero_params"], target)
    return {"merged": target}


def latest_name(files: Iterable[str], before: str) -> str:
    """What a recovery or a merge starts from."""
    order = ("masked", "pruned", "adapted", "recovered", "merged")
    there = set(files)
    return next(name for name in reversed(order[: order.index(before)]) if name in there)


def _draw(space: Workspace, step: MaskStep, model: Network) -> dict[str, Tensor]:
    images = space.images(step.images) if step.looks else None
    return draw_masks(model, step, images, space.distance)

"""Adaptation alone."""

from argparse import Namespace
from pathlib import Path

from loguru import logger

from yolox.cli.adapt import PROG
from yolox.cli.jobs.stages import named_task
from yolox.compress.adapt import AdaptStage, load_student
from yolox.compress.groups import find_groups
from yolox.compress.least_squares import Student, adapt
from yolox.compress.stage import require_input_kept
from yolox.compress.steps import AdaptStep
from yolox.compress.workspace import Workspace
from yolox.errors import UsageError


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
    step = _step(args)
    task = named_task(args)
    workspace, path = Workspace.of(task), Path(args.ckpt)
    for given in filter(None, (path, args.dense)):
        require_input_kept(given, workspace.out, [AdaptStage()])
    if args.dense:
        (content, _, info), student = load_student(workspace, path, Path(args.dense))
    else:
        content, model, info = workspace.load(path)
        student = Student(model, model, {}, content.get("masks", {}))
    size_hw, device = task.exp.test_size, workspace.device
    images = task.images(step.images).open(device) if step.needs_images else None
    found = adapt(student, find_groups(student.dense, size_hw).trace, images, step)
    if not found:
        raise UsageError(f"{PROG}: {path} has all channels of {args.dense}: nothing to fold")
    content["exp"] = {**content["exp"], "options": task.exp.options()}
    *_, (last, adapted) = found.items()
    rule = task.selection_rule(step.images if args.dense and step.needs_images else None)
    kept = rule.select({"before": student.model, **found}, student.dense, info, device)
    if kept.name != last:
        logger.warning("{} is better than what was asked for: {}", kept.name, kept.measure)
    target = workspace.save("adapted.pth", content, adapted, student.masks, content.get("channels"))
    logger.info("{} at {} x {} -> {}", ", ".join(found), *size_hw, target)
    return 0


def _step(args: Namespace) -> AdaptStep:
    """Which parts run. Raises UsageError."""
    if not args.dense and not args.recalibrate:
        raise UsageError(
            f"{PROG}: without --dense only --recalibrate is possible: name the dense checkpoint"
        )
    fold, least_squares = not args.no_fold, not args.no_least_squares
    if not args.dense:
        fold = least_squares = False
    if not (fold or least_squares or args.recalibrate):
        raise UsageError(f"{PROG}: --no-fold --no-least-squares leaves nothing to do")
    try:
        return AdaptStep(fold, least_squares, args.recalibrate, args.images, args.ridge)
    except ValueError as error:
        raise UsageError(f"{PROG}: {error}") from error

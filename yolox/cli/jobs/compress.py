"""Compress a checkpoint, to one size or several."""

from argparse import Namespace
from dataclasses import replace

from loguru import logger

from yolox.cli.jobs.stages import job_of, masked_share, named_task
from yolox.compress.frontier import beside, frontier, pick
from yolox.compress.job import CompressionJob
from yolox.compress.recipe import Recipe, half_the_model, load_recipe, with_overrides
from yolox.compress.run import compress
from yolox.compress.steps import BUDGETS, MaskStep, RecoverStep
from yolox.defaults import BACKENDS, EVALUATE
from yolox.errors import UsageError


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
    if args.frontier is None and (args.pick is not None or args.beside):
        raise UsageError("--pick and --beside belong to --frontier")
    share = masked_share(args)
    recipe = load_recipe(args.recipe) if args.recipe else _without_recipe(share, _budgets(args))
    recipe = with_overrides(recipe, share, _budgets(args), not args.no_recover)
    if args.pictures:
        recover = recipe.recover or RecoverStep()
        recipe = replace(recipe, recover=replace(recover, images=args.pictures))
    task = named_task(args)
    precision = "fp16" if args.fp16 else "bf16" if args.bf16 else "fp32"
    options = replace(task.options, batch_size=args.batch_size, precision=precision)
    pictures = recipe.recover.images if recipe.recover is not None else None
    task = replace(
        task, options=options, evaluated=not args.no_eval, calibration=task.calibration or pictures
    )
    job = job_of(
        task,
        recipe,
        until=args.until,
        start=args.start,
        backends=_backends(args.backends),
        resamples=args.resamples,
        control=args.control,
    )
    if args.frontier is None:
        compress(job)
    else:
        _frontier(job, args)
    return 0


def _frontier(job: CompressionJob, args: Namespace) -> None:
    """Compress to several sizes, and write what came of it."""
    if args.until != EVALUATE:
        raise UsageError("--frontier runs to the end: leave out --until")
    if args.pick is not None and args.no_eval:
        raise UsageError("--pick needs AP, which --no-eval leaves out")
    from yolox.compress.report.frontier import frontier_table, write_frontier

    others = beside(args.beside)
    points = frontier(job, args.budget, args.frontier)
    write_frontier(job.out, points, others, None)
    logger.info("{}\n{}", job.out / "frontier.json", frontier_table(points, others))
    if args.pick is not None:
        picked = pick(points, args.pick)
        write_frontier(job.out, points, others, picked)
        logger.info("{}: {} ({})", args.pick.text, picked.name, picked.folder)


def _without_recipe(share: float | None, budgets: dict[str, float]) -> Recipe:
    """Only masks where only their share is given, else half of the parameters, or what is named."""
    if share is not None and not budgets:
        return Recipe(mask=MaskStep(), recover=RecoverStep())
    return half_the_model()


def _budgets(args: Namespace) -> dict[str, float]:
    """The budgets named on the command line."""
    return {key: getattr(args, key) for key in BUDGETS if getattr(args, key) is not None}


def _backends(text: str) -> tuple[str, ...]:
    if text == "none":
        return ()
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in BACKENDS:
            raise UsageError(f"--backends: {name!r} is none of {', '.join(BACKENDS)}")
    return names

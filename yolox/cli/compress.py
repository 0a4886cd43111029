"""The whole compression in one command: `python compress/prune.py --ckpt best_ckpt.pth`.

Mask, plan, prune, adapt, recover, merge, evaluate, as a recipe says; without one, the model is cut
until at most half of its parameters and half of its MACs are left, and the rest is adapted and
tuned with the dense model as its teacher. Ends with a table of every stage. A run that was
interrupted goes on where it stopped. The experiment is the one that made the checkpoint; trailing
KEY VALUE pairs set its options.
"""

from argparse import ArgumentParser, Namespace
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from loguru import logger

from yolox.backends import BACKENDS
from yolox.cli.arguments import Parser, real, require_writable_folder, whole
from yolox.cli.common import add_experiment, load_experiment
from yolox.compress.frontier import Condition, beside, frontier
from yolox.compress.job import CompressionJob, CompressionTask
from yolox.compress.recipe import Recipe, half_the_model, load_recipe, with_overrides
from yolox.compress.run import NAMES, compress
from yolox.compress.steps import BUDGETS, MaskStep, RecoverStep
from yolox.engine.launch import pick_device
from yolox.engine.state import RunOptions
from yolox.errors import UsageError

MEASURED = "torch,onnxruntime,openvino"
SHARES = tuple(key for key in BUDGETS if key != "latency_ms")


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    parser = job_parser("yolox compress", str(__doc__))
    parser.add_argument("--recipe", help="YAML file (configs/*.yaml)")
    add_nonzero(parser)
    for key in BUDGETS:
        what = "milliseconds" if key == "latency_ms" else "the dense model's share that may be left"
        parser.add_argument(f"--{key.replace('_', '-')}", type=real(), help=f"budget: {what}")
    parser.add_argument("--until", default=NAMES[-1], choices=NAMES, help="last stage to run")
    parser.add_argument(
        "--from", dest="start", choices=NAMES, help="do this stage and the later ones anew"
    )
    parser.add_argument(
        "--control",
        action="store_true",
        help="tune the dense model as long, as a row to compare with",
    )
    tuning = parser.add_mutually_exclusive_group()
    tuning.add_argument("--no-recover", action="store_true", help="leave the tuning out")
    tuning.add_argument(
        "--pictures", metavar="DIR", help="tune on pictures without labels, too, of this folder"
    )
    parser.add_argument("--no-eval", action="store_true", help="measure size and speed, not AP")
    parser.add_argument(
        "-b", "--batch-size", type=whole(1, "MAX_BATCH"), default=16, help="of the fine-tune"
    )
    parser.add_argument("--fp16", action="store_true", help="of the fine-tune")
    parser.add_argument("--bf16", action="store_true", help="of the fine-tune")
    parser.add_argument(
        "--backends", default=MEASURED, help="to measure latency with, separated by commas, or none"
    )
    parser.add_argument(
        "--resamples",
        type=whole(0),
        default=200,
        help="random parts of the images, for AP's intervals (0: none)",
    )
    sizes = parser.add_argument_group("several sizes at once")
    sizes.add_argument(
        "--frontier",
        nargs="+",
        type=real(0, 1),
        metavar="SHARE",
        help="compress to each of these shares of the budget, and draw AP against what is left",
    )
    sizes.add_argument(
        "--budget", default="macs", choices=SHARES, help="what --frontier's shares are of"
    )
    sizes.add_argument(
        "--pick",
        type=Condition.parse,
        metavar="CONDITION",
        help="name the smallest model for which it holds: 'AP>=0.95*dense', 'AP>=0.4'",
    )
    sizes.add_argument(
        "--beside",
        nargs="+",
        default=[],
        metavar="NAME=REPORT.json",
        help="draw the last rows of other reports, too",
    )
    args = parser.parse(argv)
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
    if args.until != NAMES[-1]:
        raise UsageError("--frontier runs to the end: leave out --until")
    if args.pick is not None and args.no_eval:
        raise UsageError("--pick needs AP, which --no-eval leaves out")
    from yolox.compress.report.frontier import (  # noqa: PLC0415 - matplotlib is slow
        frontier_table,
        write_frontier,
    )

    others = beside(args.beside)
    points = frontier(job, args.budget, args.frontier)
    write_frontier(job.out, points, others, None)
    logger.info("{}\n{}", job.out / "frontier.json", frontier_table(points, others))
    if args.pick is not None:
        picked = args.pick.pick(points)
        write_frontier(job.out, points, others, picked)
        logger.info("{}: {} ({})", args.pick.text, picked.name, picked.folder)


def add_nonzero(parser: ArgumentParser) -> None:
    """The share of weights that masks leave, and its old spelling."""
    nonzero = parser.add_mutually_exclusive_group()
    nonzero.add_argument(
        "--nonzero", type=real(0, 1), help="share of weights that masks leave (0.51 masks 49 %%)"
    )
    nonzero.add_argument("--share", type=real(0, 1), help="deprecated: 1 - NONZERO")


def masked_share(args: Namespace) -> float | None:
    """The share of weights to mask, None where none was named."""
    if args.share is not None:
        logger.warning("--share is deprecated: use --nonzero {:g}", 1 - args.share)
        return float(args.share)
    return None if args.nonzero is None else round(1 - args.nonzero, 12)


def job_parser(prog: str, description: str) -> Parser:
    """What the commands of single stages take, too."""
    parser = Parser(prog, description=description)
    parser.add_argument("--ckpt", required=True, help="checkpoint to compress")
    parser.add_argument("--out", default="YOLOX_outputs/compress", help="folder for the artefacts")
    parser.add_argument(
        "--calibration", help="folder of images (default: the experiment's training images)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps")
    add_experiment(parser)
    return parser


def named_task(args: Namespace) -> CompressionTask:
    """The task that `job_parser`'s arguments name."""
    exp = load_experiment(args, args.ckpt)
    require_writable_folder("--out", args.out)
    return CompressionTask(
        ckpt=args.ckpt,
        exp=exp,
        out=Path(args.out),
        options=RunOptions(device=pick_device(args.device)),
        calibration=args.calibration,
    )


def job_of(task: CompressionTask, recipe: Recipe, **how: Any) -> CompressionJob:
    """The job of a task and a recipe. how: fields of the job alone."""
    shared = {field.name: getattr(task, field.name) for field in fields(task)}
    return CompressionJob(**shared, recipe=recipe, **how)


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

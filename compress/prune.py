"""The whole compression in one command: `python compress/prune.py --ckpt best_ckpt.pth`.

Mask, tune (where the recipe says so), merge, evaluate; ends with a table of before and after. The
experiment is the one that made the checkpoint; trailing KEY VALUE pairs set its options.
"""

from pathlib import Path

from compress.pipeline import STAGES, Job, compress, with_overrides
from compress.recipe import Recipe, load_recipe
from yolox.cli.common import Parser, add_experiment, load_experiment, run
from yolox.engine.launch import pick_device
from yolox.engine.state import RunOptions
from yolox.errors import UsageError


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    parser = Parser("yolox compress", description=__doc__)
    parser.add_argument("--ckpt", required=True, help="checkpoint to compress")
    parser.add_argument(
        "--recipe", help="YAML file (configs/*.yaml); default: 49 %% masks, no tuning"
    )
    parser.add_argument("--share", type=float, help="share of weights left out, over the recipe's")
    parser.add_argument("--criterion", help="magnitude, layer or lamp, over the recipe's")
    parser.add_argument("--until", default="evaluate", choices=STAGES, help="last stage to run")
    parser.add_argument("--out", default="YOLOX_outputs/compress", help="folder for the artefacts")
    parser.add_argument("--no-eval", action="store_true", help="measure size and speed, not AP")
    parser.add_argument("-b", "--batch-size", type=int, default=16, help="of the fine-tune")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps")
    parser.add_argument("--fp16", action="store_true", help="of the fine-tune")
    add_experiment(parser)
    args = parser.parse(argv)
    exp = load_experiment(args, args.ckpt)
    recipe = load_recipe(args.recipe) if args.recipe else Recipe()
    try:
        recipe = with_overrides(recipe, share=args.share, criterion=args.criterion)
    except ValueError as error:
        raise UsageError(f"recipe: {error}") from error
    options = RunOptions(
        batch_size=args.batch_size,
        device=pick_device(args.device),
        precision="fp16" if args.fp16 else "fp32",
    )
    compress(Job(args.ckpt, exp, recipe, Path(args.out), options, args.until, not args.no_eval))
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))

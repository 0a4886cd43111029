"""The whole compression in one command: `python compress/prune.py --ckpt best_ckpt.pth`.

Mask, plan, prune, adapt, recover, merge, evaluate, as a recipe says; without one, the model is cut
until at most half of its parameters and half of its MACs are left, and the rest is adapted and
tuned with the dense model as its teacher. Ends with a table of every stage. A run that was
interrupted goes on where it stopped. The experiment is the one that made the checkpoint; trailing
KEY VALUE pairs set its options.
"""

from yolox.cli.arguments import Parser, real, whole
from yolox.cli.stages import add_nonzero, job_parser
from yolox.compress.condition import Condition
from yolox.compress.steps import BUDGETS
from yolox.defaults import STAGE_NAMES

MEASURED = "torch,onnxruntime,openvino"
SHARES = tuple(key for key in BUDGETS if key != "latency_ms")


def make_parser() -> Parser:
    """The flags."""
    parser = job_parser("yolox compress", str(__doc__))
    parser.add_argument("--recipe", help="YAML file (configs/*.yaml)")
    add_nonzero(parser)
    for key in BUDGETS:
        what = "milliseconds" if key == "latency_ms" else "the dense model's share that may be left"
        parser.add_argument(f"--{key.replace('_', '-')}", type=real(), help=f"budget: {what}")
    parser.add_argument(
        "--until", default=STAGE_NAMES[-1], choices=STAGE_NAMES, help="last stage to run"
    )
    parser.add_argument(
        "--from", dest="start", choices=STAGE_NAMES, help="do this stage and the later ones anew"
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
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.compress import run

    return run(args)

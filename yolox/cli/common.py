"""What the commands share: exit codes, naming an experiment, starting workers."""

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from loguru import logger

from yolox.cli.arguments import real, whole
from yolox.data.loader import dead_worker
from yolox.engine.launch import TIMEOUT_MINUTES, JobSize, pick_device
from yolox.engine.log import set_up_log
from yolox.engine.records import Record
from yolox.errors import UsageError, YoloxError
from yolox.exp import BaseExp, exp_of_checkpoint, get_exp, set_stored_options
from yolox.export.open import Opened, Runtime, is_exported, open_model, require_device_used

Main = Callable[[list[str] | None], int]

INTERRUPTED = 130  # the shell's code for SIGINT
LONGEST_MESSAGE = 1500  # characters: an argument or a path may have any length


def run(main: Main, argv: list[str] | None = None) -> int:
    """Run a command and return its exit code. A user's mistake is one line, a bug a traceback."""
    set_up_log()
    try:
        return main(argv)
    except YoloxError as error:
        logger.error("{}", one_line(error))
        return error.exit_code
    except OSError as error:
        if error.filename is None:
            traceback.print_exc(file=sys.stderr)
        else:  # a disk that is full, a file that was there a moment ago
            logger.error("{}", one_line(f"{error.filename}: {error.strerror}"))
        return YoloxError.exit_code
    except KeyboardInterrupt:
        logger.error("interrupted")
        return INTERRUPTED
    except RuntimeError as error:
        line = dead_worker(error)
        if line is None:
            traceback.print_exc(file=sys.stderr)
        else:
            logger.error("{}", line)
        return 1
    except Exception:  # noqa: BLE001 - the last stop: reported in full, and never exit code 0
        traceback.print_exc(file=sys.stderr)
        return 1


def one_line(message: object) -> str:
    """A message in one line of valid Unicode, cut where it is very long."""
    text = " ".join(str(message).split("\n"))
    if len(text) > LONGEST_MESSAGE:
        text = f"{text[:LONGEST_MESSAGE]}..."
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """-f, -n, -expn and the trailing KEY VALUE pairs."""
    parser.add_argument("-f", "--exp_file", help="experiment file")
    parser.add_argument("-n", "--name", help="shipped experiment, such as yolox-s or yolox-m-p6")
    parser.add_argument("-expn", "--experiment-name", help="name of the output folder")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="options to set")


def add_job(parser: argparse.ArgumentParser) -> None:
    """-d, machines and where they meet, and the device."""
    parser.add_argument(
        "-d",
        "--devices",
        type=whole(1, "MAX_PROCESSES"),
        default=1,
        help="processes on this machine",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: the best there is)")
    parser.add_argument("--num_machines", type=whole(), default=1)
    parser.add_argument("--machine_rank", type=whole(0), default=0)
    parser.add_argument("--dist-url", help="tcp://HOST:PORT of machine 0")
    parser.add_argument("--dist-backend", default="auto", choices=["auto", "nccl", "gloo"])
    parser.add_argument(
        "--dist-timeout",
        type=real(0.001),
        default=TIMEOUT_MINUTES,
        metavar="MINUTES",
        help="the job ends where a process waits longer for the others (default: %(default)g)",
    )


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """--backend, precision, threads and ONNX Runtime's provider. --device comes from elsewhere."""
    parser.add_argument(
        "--backend", help="torch, compile, onnxruntime or openvino (default: the file's own)"
    )
    parser.add_argument(
        "--fp16", action="store_true", help="fp16 (bf16 on the CPU, but for onnxruntime)"
    )
    parser.add_argument("--bf16", action="store_true", help="bf16")
    parser.add_argument(
        "--threads",
        type=whole(0, "MAX_THREADS"),
        default=0,
        help="of the runtime (default: its own)",
    )
    parser.add_argument(
        "--provider",
        default="CPUExecutionProvider",
        help="of ONNX Runtime: CUDAExecutionProvider, TensorrtExecutionProvider, ...",
    )


def open_named(args: argparse.Namespace, exp: BaseExp, fused: bool = True) -> Opened:
    """The model that -c names, or the experiment's best checkpoint, in the runtime asked for.

    An exported file of a fixed size sets the experiment's test_size. Raises UsageError where
    --tsize says otherwise; ModelError.
    """
    device = pick_device(args.device)
    half = "bf16" if device.type == "cpu" and args.backend != "onnxruntime" else "fp16"
    precision = half if args.fp16 else "bf16" if args.bf16 else "fp32"
    runtime = Runtime(args.backend, precision, device, args.threads, args.provider)
    path = named_checkpoint(args, exp)
    require_device_used(args.device, path, args.backend)
    opened = open_model(path, runtime, exp.test_size, exp.detector_spec(), fused=fused)
    info = opened.backend.info
    if info.size_hw is not None and tuple(info.size_hw) != tuple(exp.test_size):
        if args.tsize is not None:
            raise UsageError(f"{path} has the fixed size {tuple(info.size_hw)}, not {args.tsize}")
        logger.warning("{}'s size {} is used, not {}", path, tuple(info.size_hw), exp.test_size)
        exp.test_size = (info.size_hw[0], info.size_hw[1])
    if info.output == "detections":
        logger.warning("{} has its own suppression, which is used: {}", path, dict(info.nms))
    return opened


def named_checkpoint(args: argparse.Namespace, exp: BaseExp) -> str:
    """The file that -c names, else the experiment's best checkpoint."""
    return args.ckpt or str(Path(exp.output_dir) / exp.exp_name / "best_ckpt.pth")


def set_test_size(exp: BaseExp, tsize: int | None) -> None:
    """--tsize, a square. Raises UsageError where it does not fit the strides."""
    if tsize is not None:
        exp.test_size = (tsize, tsize)
        exp.validate()


def job_size(args: argparse.Namespace) -> JobSize:
    """Processes and machines of a job."""
    return JobSize(args.devices, args.num_machines, args.machine_rank, args.dist_url)


def load_experiment(
    args: argparse.Namespace, ckpt: str | None = None, record: Record | None = None
) -> BaseExp:
    """The experiment named on the command line, with its options set and checked.

    ckpt: a checkpoint that names its experiment, for the case that the command line does not.
    record: of the run that made the checkpoint, whose options may be others.
    """
    if args.exp_file is None and args.name is None and ckpt is not None:
        if is_exported(ckpt):
            raise UsageError(f"{ckpt} does not name its experiment: name it with -f or -n")
        exp = exp_of_checkpoint(ckpt)
        if record is not None:
            set_stored_options(exp, record.options, f"the record in {record.folder}")
        exp.merge(args.opts)
        logger.info("images and labels, where needed, are those in {}", exp.data_root())
    else:
        exp = get_exp(args.exp_file, args.name)
        exp.merge(args.opts)
    if args.experiment_name:
        exp.exp_name = args.experiment_name
    exp.validate()
    return exp

"""What the commands share: exit codes, and flags. Nothing here imports torch."""

import argparse
import sys
import traceback
from collections.abc import Callable

from loguru import logger

from yolox.cli.arguments import real, whole
from yolox.defaults import TIMEOUT_MINUTES
from yolox.engine.log import set_up_log
from yolox.errors import YoloxError

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
        from yolox.data.loader import dead_worker

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

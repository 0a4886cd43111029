"""Data loaders whose workers may hang or die: the job ends in one line instead of waiting."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from typing import TypeVar

from torch.utils.data import DataLoader

from yolox.errors import YoloxError

Item = TypeVar("Item")

DATA_TIMEOUT = 300.0  # seconds for one batch; a slow network drive needs some
_WORKER_FAILED = "DataLoader worker"  # how torch's message begins


def watched(loader: DataLoader[Item], describe: Callable[[int], str]) -> Iterator[Item]:
    """The batches of a loader. describe: the images of a batch, by its number.

    Raises YoloxError naming worker and images where a batch does not come within the loader's
    time-out; the workers are killed, for one that hangs would keep this process from ending.
    """
    before = set(active_children())
    batches = iter(loader)
    workers = [child for child in active_children() if child not in before]
    for number in count():
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            if not str(error).startswith("DataLoader timed out"):
                raise
            hung = workers[number % len(workers)]
            _kill(workers)
            raise YoloxError(
                f"the data loader's worker {number % len(workers)} (pid {hung.pid}) hangs: no "
                f"batch within {loader.timeout:g} s (data_timeout); it reads {describe(number)}"
            ) from error
        yield batch


def dead_worker(error: RuntimeError) -> str | None:
    """The line about a data loader's worker that died, where that is what torch's error says."""
    text = str(error)
    if not text.startswith(_WORKER_FAILED):
        return None
    reason = text.split(". ")[0].rstrip(".")
    return f"{reason} (out of memory? fewer data_num_workers need less)"


def _kill(workers: list[BaseProcess]) -> None:
    for worker in workers:
        with suppress(RuntimeError):  # torch's handler of SIGCHLD says that a worker has died
            worker.kill()
            worker.join()

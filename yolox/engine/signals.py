"""Signals that ask a run to stop: SIGINT, SIGTERM and SIGHUP."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = tuple(
    number
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if (number := getattr(signal, name, None)) is not None  # Windows has no SIGHUP
)


class StoppedInSetUp(KeyboardInterrupt):
    """A signal came before the first step; the message is its name."""


class Stop:
    """What a signal does: before the first step it ends the set-up, later it sets `is_set`.

    The loop saves and ends after the step it is in. A second signal has the operating system's
    default effect: it ends the process wherever it is, and nothing is saved.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.in_set_up = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        for each in STOPPING:
            signal.signal(each, signal.SIG_DFL)
        if self.in_set_up:
            raise StoppedInSetUp(name)
        self.is_set = True
        text = f"{name}: saves after this step and stops; a second signal stops at once, unsaved\n"
        os.write(2, text.encode())  # a logger may be in the middle of a line


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Catch the signals for the time of a block. Those that are ignored (nohup) stay ignored."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

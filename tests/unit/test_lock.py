"""Two runs never share a folder, and a killed run keeps nobody out."""

import os
import signal
import subprocess
import sys

import pytest

from yolox.errors import UsageError, YoloxError
from yolox.lock import LOCK_NAME, locked

HOLDER = """
import os, sys, time
from yolox.lock import locked
with locked(sys.argv[1]):
    if os.fork() == 0:  # as a data loader's worker, which says when it has started
        print(os.getpid(), flush=True)
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
"""


def test_the_second_run_is_refused_until_the_first_has_ended(tmp_path):
    folder = tmp_path / "new" / "run"
    with locked(folder):
        with (
            pytest.raises(UsageError, match=rf"run is in use by .*pid {os.getpid()}"),
            locked(folder),
        ):
            pass
        assert (folder / LOCK_NAME).read_text() == f"{os.getpid()}\n"
    with locked(folder):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_killed_run_leaves_no_lock_though_its_workers_live_on(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(UsageError, match=f"pid {holder.pid}"), locked(tmp_path):
                pass
            holder.kill()
            holder.wait()
            with locked(tmp_path):
                os.kill(child, 0)  # it is still there
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(YoloxError, match="file cannot be written to"), locked(tmp_path / "file"):
        pass

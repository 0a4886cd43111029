"""`torchrun --max-restarts`: a job that was started again goes on from its last checkpoint."""

import os
from dataclasses import replace
from pathlib import Path

from loguru import logger

from yolox import dist
from yolox.engine.launch import RESTART_COUNT
from yolox.engine.saving import read_latest
from yolox.engine.state import RunOptions
from yolox.errors import ModelError

STARTED = 19  # place of the start time in /proc/PID/stat, counted behind the program's name


def after_restart(options: RunOptions, folder: Path) -> RunOptions:
    """The options of a run, continued where an earlier try of the same job has saved.

    Where the latest checkpoint is of another job, that is from before this one, the run starts as
    the command says.
    """
    count = int(os.environ.get(RESTART_COUNT, "0"))
    if count == 0 or not dist.from_first(_saved_by_this_job(folder)):
        return options
    logger.info("restart {}: continues from the last checkpoint in {}", count, folder)
    return replace(options, resume=True, ckpt=None, start_epoch=None)


def job_name() -> str | None:
    """What the tries of a torchrun job share, and no two jobs; None without torchrun.

    On several machines that is the id which the job was given. On one it may have none: there the
    agent, the parent of all tries, stands for the job.
    """
    if RESTART_COUNT not in os.environ:
        return None
    given = os.environ.get("TORCHELASTIC_RUN_ID", "")
    if os.environ.get("LOCAL_WORLD_SIZE") != os.environ.get("WORLD_SIZE"):
        return given
    agent = os.getppid()
    try:
        stat = Path(f"/proc/{agent}/stat").read_text(encoding="utf-8", errors="replace")
        started = stat.rpartition(")")[2].split()[STARTED]
    except (OSError, IndexError):  # not Linux
        started = ""
    return f"{given} {agent} {started}"


def _saved_by_this_job(folder: Path) -> bool:
    try:
        _, content = read_latest(folder)
    except ModelError:
        return False
    return (content.get("state") or {}).get("job") == job_name()

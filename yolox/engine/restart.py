"""`torchrun --max-restarts`: a job that was started again goes on from its last checkpoint."""

import json
import os
from dataclasses import replace
from pathlib import Path

from loguru import logger

from yolox import dist
from yolox.engine.launch import RESTART_COUNT
from yolox.engine.manifest import manifest_path
from yolox.engine.saving import read_latest
from yolox.engine.state import RunOptions
from yolox.errors import ModelError


def after_restart(options: RunOptions, folder: Path) -> RunOptions:
    """The options of a run, continued where an earlier try of the same job has saved.

    The manifest names the run that was begun here last. Where the latest checkpoint is of another
    one, that is from before this job, the run starts as the command says.
    """
    count = int(os.environ.get(RESTART_COUNT, "0"))
    if count == 0 or not dist.from_first(_saved_by_this_job(folder)):
        return options
    logger.info("restart {}: continues from the last checkpoint in {}", count, folder)
    return replace(options, resume=True, ckpt=None, start_epoch=None)


def _saved_by_this_job(folder: Path) -> bool:
    try:
        begun = json.loads(manifest_path(folder).read_text(encoding="utf-8"))["run_id"]
        _, content = read_latest(folder)
        return bool(content["state"]["run_id"] == begun)
    except (OSError, ValueError, KeyError, TypeError, ModelError):
        return False

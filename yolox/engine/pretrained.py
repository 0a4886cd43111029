"""A training that begins with a classifier's backbone."""

from loguru import logger
from torch import Tensor

from yolox.engine import checkpoint
from yolox.engine.restore import load_state
from yolox.errors import ModelError
from yolox.families import Detector

DOWNLOAD = "download"


def load_pretrained(model: Detector, source: str) -> None:
    """Put pretrained weights into a detector's backbone; its other weights stay.

    source: `TrainSpec.pretrained_backbone`. Raises UsageError where the family takes none or they
    cannot be had, ModelError where a file's do not fit.
    """
    own = model.state_dict()
    wanted = [key for key in own if key.startswith(model.pretrained_keys)]
    if not source:
        if model.pretrained_keys:
            logger.warning(
                "{} of {} values start from random numbers, the backbone's among them: this family "
                "needs much data and time without a pretrained one (pretrained_backbone {})",
                *_values(own, list(own)),
                DOWNLOAD,
            )
        return
    where = f"pretrained backbone {source}"
    state = None if source == DOWNLOAD else checkpoint.read(source).get("model", {})
    found = model.pretrained(state)
    missing = [key for key in wanted if key not in found]
    if missing:
        raise ModelError(
            f"{where} is of another network: {len(missing)} of {len(wanted)} keys are missing, "
            f"first: {missing[0]}"
        )
    load_state(model, {**own, **{key: found[key] for key in wanted}}, where)
    logger.info("{}: {} of {} values are taken over", where, *_values(own, wanted))


def _values(state: dict[str, Tensor], keys: list[str]) -> tuple[str, str]:
    """How many values the tensors of some keys have, and all have."""
    counts = [sum(state[key].numel() for key in some) for some in (keys, state)]
    return f"{counts[0]:,}", f"{counts[1]:,}"

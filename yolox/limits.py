"""How much a file may ask for before it is refused, all in one place.

A file from a stranger can state any size. What it states is compared with these limits before
memory is taken. The environment variable YOLOX_<NAME> changes a limit:
`YOLOX_MAX_IMAGE_PIXELS=1e9`.
"""

import math
import os

from yolox.errors import UsageError

DEFAULTS = {
    "MAX_IMAGE_PIXELS": 100_000_000,  # of one decoded image: 300 MB
    "MAX_PARAMETERS": 500_000_000,  # of one model: 2 GB in fp32; YOLOX-X has 99 million
    "MAX_CHECKPOINT_BYTES": 16 * 2**30,  # of all records of one checkpoint, unpacked
    "MAX_WEIGHT": 10**12,  # absolute value of any number in a model or a training state
    "MAX_CONFIG_BYTES": 1_000_000,  # of a recipe, or of a deployment's configuration
    "MAX_PROCESSES": 256,  # of one job on one machine
    "MAX_THREADS": 1024,  # of a runtime
    "MAX_BATCH": 65_536,  # images in a batch, over all processes
    "MAX_WORKERS": 64,  # data loader processes of one training or evaluation process
}


def limit(name: str) -> int:
    """A limit by its name in `DEFAULTS`, or what its environment variable says.

    Raises UsageError where the variable is no positive number.
    """
    variable = f"YOLOX_{name}"
    text = os.environ.get(variable)
    if text is None:
        return DEFAULTS[name]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 <= value < math.inf:
        raise UsageError(f"environment variable {variable}={text!r} is not a positive number")
    return int(value)


def over_limit(name: str, value: float) -> str | None:
    """Why a value is refused, in words that name the limit and its variable; None where it fits."""
    most = limit(name)
    if value <= most:
        return None
    words = f"{value:,.0f}" if value < 1e15 else "a number of more than 15 digits"
    return f"{words} is more than {most:,} (set YOLOX_{name} to allow more)"

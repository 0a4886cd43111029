"""How the C library hands out memory in a process that trains on the CPU or makes its images."""

import ctypes
import platform

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of mallopt(3)
LARGE = 2**30  # bytes: the largest block that is taken from memory which was used before
ALLOWED = 2**25  # the largest threshold that older GNU libcs take


def keep_freed_memory() -> bool:
    """Use memory again that a step has freed; whether it could be asked for (GNU libc alone).

    GNU libc returns large blocks to the system at once, which then clears every page of them before
    the next step may write to it: 5 to 13 % of a training step on the CPU, up to a fifth of what
    making a training image takes (benchmarks/README.md). In exchange, the process keeps the
    memory of its largest step, and so do processes forked later.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    kept = libc.mallopt(TRIM_THRESHOLD, 2 * LARGE - 1)
    return bool(kept and any(libc.mallopt(MMAP_THRESHOLD, size) for size in (LARGE, ALLOWED)))

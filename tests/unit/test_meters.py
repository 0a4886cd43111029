"""Means of what a run measures of itself, and the memory that its steps use again."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from yolox.engine.meters import Meter

TRAINING = "from yolox.allocator import keep_freed_memory\nkeep_freed_memory()"
LOADING = "from yolox.data.batch import start_worker\nstart_worker(0)"
AGAIN = """
import resource
import numpy as np
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)  # 64 MiB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_means_of_numbers_and_of_scalars_on_a_device():
    meter = Meter(window=2)
    for value in (7.0, 1.0, 2.0):
        meter.add(seconds=value, loss=torch.tensor(10 * value))
    meter.add(seconds=4.0)
    assert meter.means() == {"seconds": 3.0, "loss": 15.0}
    assert Meter().means() == {}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of GNU libc")
@pytest.mark.parametrize("set_up", [TRAINING, LOADING])
def test_freed_memory_is_used_again(set_up: str):
    code = f"{set_up}\n{AGAIN}"
    small = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"}  # pages of 4 KiB, where that is allowed
    done = subprocess.run([sys.executable, "-c", code], env=small, capture_output=True, text=True)
    assert int(done.stdout) < 100  # pages; 16384 where the system hands the memory out anew


@pytest.mark.skipif(platform.system() != "Linux", reason="not known elsewhere")
def test_peak_memory_is_that_of_the_process_itself():
    block = np.ones(2**27)  # 1 GiB
    code = (
        "import torch\nfrom yolox.engine.meters import peak_memory_mb\n"
        "print(peak_memory_mb(torch.device('cpu')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 50 < float(done.stdout) < block.nbytes / 2**20

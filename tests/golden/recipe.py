"""Weights, images and targets of the reference runs, from formulas: no file is needed.

The reference outputs were computed from the same formulas. Each weight has a random generator
of its own, whose seed is the CRC-32 of its key in the state dict.
"""

import math
import re
import zlib

import numpy as np
import torch
from torch import Tensor, nn

STEM = "backbone.backbone.stem.conv.conv.weight"
STEM_GAIN = 1 / 147  # the stem sees pixels of 0-255, every other layer about unit variance
CONV_GAIN = {"nano": 1.605, "s": 1.555}

# Key -> low and high of uniform numbers. The last pattern is the scale of a batch norm.
UNIFORM = {r"running_var$": (0.5, 1.5), r"\.bn\.weight$": (0.8, 1.2)}
# Key -> mean and standard deviation of normal numbers; the first pattern that is found counts.
NORMAL = {
    r"running_mean$": (0.0, 0.1),
    r"obj_preds\.\d\.bias$": (-6.5, 0.2),
    r"cls_preds\.\d\.bias$": (-4.0, 0.5),
    r"reg_preds\.\d\.bias$": ((0.5, 0.5, 2.0, 2.0), 0.1),
    r"bias$": (0.0, 0.2),
}

# Class, cx, cy, w, h in pixels: the objects of each image.
OBJECTS = {
    "nano": [
        [
            [17, 100.5, 120.25, 80, 60],
            [3, 104, 118, 84, 66],
            [3, 300, 300, 200, 180],
            [44, 12, 10, 22, 18],
            [79, 250.75, 60.5, 3, 2.5],
            [0, 402, 404, 26, 22],
            [25, 208, 208, 410, 400],
        ],
        [[60, 50, 350, 40, 100], [1, 52, 348, 120, 30], [8, 330, 90, 64, 64]],
        [],
    ],
    "s": [
        [
            [5, 160, 128, 120, 90],
            [5, 150, 120, 110, 100],
            [70, 30.25, 200.5, 33, 41],
            [12, 300, 20, 38, 36],
            [33, 220, 230, 6, 5],
        ],
        [[2, 80, 64, 500, 300]],
    ],
}
MAX_OBJECTS = 12


def fill(model: nn.Module, name: str) -> nn.Module:
    """Give `model`, built as YOLOX `name`, the weights of the reference runs."""
    state = model.state_dict()
    for key, old in state.items():
        value = np.asarray(_value(key, tuple(old.shape), CONV_GAIN[name]))
        state[key] = torch.from_numpy(value).to(old.dtype)
    model.load_state_dict(state)
    return model


def images(shape: tuple[int, int, int, int]) -> Tensor:
    """Noise on blocks of 16 x 16 pixels, whole numbers of 0-255. shape: N, C, H, W."""
    random = np.random.RandomState(0)
    height, width = shape[2:]
    blocks = random.randint(0, 256, (*shape[:2], height // 16, width // 16))
    noise = random.randint(-40, 41, shape)
    pixels = np.kron(blocks, np.ones((16, 16), int)) + noise
    return torch.from_numpy(pixels.clip(0, 255).astype(np.float32))


def targets(name: str) -> Tensor:
    """[N, 12, 5]: the objects of each image, then zero rows."""
    padded = torch.zeros(len(OBJECTS[name]), MAX_OBJECTS, 5)
    for rows, objects in zip(padded, OBJECTS[name], strict=True):
        if objects:
            rows[: len(objects)] = torch.tensor(objects)
    return padded


def _value(key: str, shape: tuple[int, ...], conv_gain: float) -> np.ndarray:
    random = np.random.RandomState(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape)
    for pattern, (low, high) in UNIFORM.items():
        if re.search(pattern, key):
            return random.uniform(low, high, shape)
    for pattern, (mean, deviation) in NORMAL.items():
        if re.search(pattern, key):
            return np.asarray(mean) + deviation * random.standard_normal(shape)
    return _filters(key, random.standard_normal(shape), conv_gain)


def _filters(key: str, values: np.ndarray, conv_gain: float) -> np.ndarray:
    """Normal numbers, scaled by the fan-in. Filters sum to zero, so that outputs vary in space."""
    gain = STEM_GAIN if key == STEM else conv_gain
    if "_preds." in key:  # the last layers of the head
        gain = 0.7 if "reg_preds" in key else 2.5
    elif values.shape[1] > 1:  # not depthwise
        values = values - values.mean(axis=(1, 2, 3), keepdims=True)
    return gain / math.sqrt(math.prod(values.shape[1:])) * values

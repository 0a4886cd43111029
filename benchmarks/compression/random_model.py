"""A model of random weights, and the checkpoint that the variants of it are compared with."""

import argparse
from pathlib import Path
from typing import Any

import torch

from yolox.engine import checkpoint
from yolox.exp import get_exp
from yolox.families import Detector, spec_to_dict


def named(description: str | None) -> argparse.Namespace:
    """What the command line says: name, size, out."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("name", help="experiment")
    parser.add_argument("size", type=int, help="pixels")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def write_dense(name: str, size: int, folder: Path) -> tuple[Detector, dict[str, Any]]:
    """Write `dense.pth`; the model, and what checkpoints of its variants say beside weights."""
    exp = get_exp(exp_name=name)
    torch.manual_seed(0)
    model = exp.get_model()
    exp.test_size = (size, size)
    content = {"spec": spec_to_dict(exp.detector_spec()), "exp": exp.origin()}
    checkpoint.save(folder / "dense.pth", {**content, "model": model.state_dict()})
    return model, content

"""Eager inference: this toolkit against official YOLOX's network, in turns, batch 1, fused.

Official YOLOX itself wants its build of years ago; pixeltable-yolox is a maintained copy of its
network under the same package name. Install it aside, then name the folder:

    pip install --no-deps --target /tmp/official pixeltable-yolox
    python benchmarks/official_yolox.py --official /tmp/official

Each kind of model lives in a process of its own; in every round each does the same number of runs.
"""

import argparse
from pathlib import Path

from turns import child_turns, median_turns

CASES = (("nano", 416), ("s", 640), ("m", 640))
KINDS = ("official fused", "ours, not fused", "ours fused, channels-first", "ours fused")


def make_forward(kind: str, name: str, size: int):
    """A function that runs the model once."""
    import torch

    torch.set_num_threads(2)
    torch.manual_seed(0)
    if kind.startswith("official"):
        from yolox.utils import fuse_model

        from yolox import config

        model = getattr(config, f"Yolox{name.title()}")().get_model().eval()
        model = fuse_model(model)
        images = torch.rand(1, 3, size, size) * 255
        return lambda: model(images)
    from yolox.backends import ModelInfo, TorchBackend
    from yolox.exp import get_exp
    from yolox.models.fuse import fuse

    model = get_exp(exp_name=f"yolox-{name}").get_model().eval()
    if "not fused" not in kind:
        model = fuse(model)
    plain = "channels-first" in kind or "not fused" in kind
    backend = TorchBackend(model, ModelInfo(80, 32), channels_last=not plain)
    images = torch.rand(1, 3, size, size) * 255
    return lambda: backend(images)


def child(kind: str, name: str, size: int) -> None:
    """Time turns of a kind."""
    import torch

    with torch.inference_mode():
        child_turns(make_forward(kind, name, size))


def measure(name: str, size: int, official: Path | None, rounds: int) -> dict[str, float]:
    """Median milliseconds by kind."""
    kinds = {kind: official if kind.startswith("official") else None for kind in KINDS}
    if official is None:
        kinds = {kind: None for kind in KINDS if not kind.startswith("official")}
    return median_turns(__file__, kinds, [name, str(size)], rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--child", nargs=3)
    args = parser.parse_args()
    if args.child:
        kind, name, size = args.child
        child(kind, name, int(size))
        return
    for name, size in CASES:
        found = measure(name, size, args.official, args.rounds)
        first = next(iter(found.values()))
        for kind, value in found.items():
            print(f"| {name}@{size} | {kind} | {value:.1f} | {value / first:.2f} |", flush=True)


if __name__ == "__main__":
    main()

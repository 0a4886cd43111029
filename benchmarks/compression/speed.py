"""How much faster half of a detector is: plans of random weights, timed side by side.

    python benchmarks/compression/speed.py --out YOLOX_outputs/speed yolox-m 640
    python tools/benchmark.py YOLOX_outputs/speed/yolox-m/*.pth --backend torch onnxruntime

The first command writes checkpoints: dense, and half of the parameters and of the MACs (at most) as
the shipped recipes rank channels, the kept ones not rounded, rounded to 8 and to 16; the same share
of every group instead; and half of the parameters alone. The second measures them, each in a
process of its own, in turns. Criterion l2: with random weights one is as good as the other.
"""

from dataclasses import replace

from random_model import named, write_dense

from yolox.compress.groups import Groups, find_groups, kept_channels
from yolox.compress.importance.channels import Evidence, l2
from yolox.compress.planner import Planner
from yolox.compress.steps import PruneStep
from yolox.engine import checkpoint
from yolox.models.channels import cut_channels

HALF = PruneStep(params=0.5, macs=0.5, criterion="l2")
STEPS = {
    "half": replace(HALF, round_to=1),
    "half-by-8": replace(HALF, round_to=8),
    "half-by-16": replace(HALF, round_to=16),
    "half-uniform-by-8": replace(HALF, ranking="layer", round_to=8),
    "half-uniform-by-16": replace(HALF, ranking="layer", round_to=16),
    "half-params-alone": replace(HALF, macs=None),
}


def main() -> None:
    args = named(__doc__)
    folder = args.out / args.name
    model, content = write_dense(args.name, args.size, folder)
    groups: Groups = find_groups(model, (args.size, args.size))
    scores = l2(Evidence(model, groups))
    for name, step in STEPS.items():
        plan = Planner(groups, scores, step).within(step.budgets)
        channels = kept_channels(groups, plan.kept)
        weights = cut_channels(model, channels).state_dict()
        checkpoint.save(folder / f"{name}.pth", {**content, "model": weights, "channels": channels})
        print(f"{name}: {plan.params_left:.3f} of the parameters, {plan.macs_left:.3f} of the MACs")


if __name__ == "__main__":
    main()

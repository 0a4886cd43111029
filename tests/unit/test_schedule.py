"""Learning rates and sizes of the schedules that no stored reference covers, in numbers."""

import math

import pytest

from yolox.config import SizeSpec, TrainSpec
from yolox.engine.schedule import input_size, learning_rate

PACE, PEAK = 10, 0.8


def rates(steps, **options):
    spec = TrainSpec(max_epoch=20, warmup_epochs=2, **options)
    return [learning_rate(step, PACE, PEAK, spec) for step in steps]


@pytest.mark.parametrize("scheduler", ["cos", "multistep"])
def test_warm_up_is_linear_and_ends_at_the_peak(scheduler):
    found = rates([0, 9, 19], scheduler=scheduler, milestones=(10,))
    assert found == pytest.approx([PEAK / 20, PEAK / 2, PEAK])


def test_half_a_cosine_over_all_steps():
    steps = [20, 50, 100, 150, 200]
    wanted = [PEAK * (1 + math.cos(math.pi * step / 200)) / 2 for step in steps]
    assert rates(steps, scheduler="cos") == pytest.approx(wanted)
    assert wanted[2] == pytest.approx(PEAK / 2)


def test_a_tenth_from_each_milestone_on():
    found = rates([20, 79, 80, 149, 150, 199], scheduler="multistep", milestones=(8, 15))
    assert found == pytest.approx([PEAK, PEAK, PEAK / 10, PEAK / 10, PEAK / 100, PEAK / 100])


def test_the_default_warms_up_quadratically_and_ends_flat():
    options = {"no_aug_epochs": 5, "warmup_lr": 0.1, "min_lr_ratio": 0.25}
    found = rates([0, 10, 20, 85, 150, 199], **options)
    floor = PEAK / 4
    wanted = [0.1, 0.1 + (PEAK - 0.1) / 4, PEAK, (PEAK + floor) / 2, floor, floor]
    assert found == pytest.approx(wanted)


def test_without_warm_up_a_run_starts_at_the_peak():
    spec = TrainSpec(max_epoch=4, warmup_epochs=0, no_aug_epochs=0)
    assert learning_rate(0, PACE, PEAK, spec) == PEAK
    cos = TrainSpec(max_epoch=4, warmup_epochs=0, scheduler="cos")
    assert learning_rate(0, PACE, PEAK, cos) == PEAK


def test_sizes_change_every_ten_steps_after_the_first_ten():
    spec = SizeSpec((64, 96), (64, 96), 32, (1, 4))
    assert {input_size(step, 0, spec) for step in range(10)} == {(64, 96)}
    blocks = [{input_size(step, 0, spec) for step in range(10 * b, 10 * b + 10)} for b in range(40)]
    assert all(len(block) == 1 for block in blocks)
    assert set().union(*blocks) == {(32, 32), (64, 96), (96, 128), (128, 192)}
    other = [input_size(10 * block, 1, spec) for block in range(40)]
    assert other != [next(iter(block)) for block in blocks]


def test_one_size_is_kept_from_the_start():
    spec = SizeSpec((64, 64), (64, 64), 32, (3, 3))
    assert input_size(0, 0, spec) == input_size(25, 0, spec) == (96, 96)

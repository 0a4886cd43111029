"""Images set aside from the training images."""

import numpy as np
import pytest

from yolox.data.dataset import DetectionDataset
from yolox.data.split import set_aside
from yolox.errors import UsageError
from yolox.eval.coco_ap import ground_truth


@pytest.fixture
def whole(synthetic_dir):
    return DetectionDataset(synthetic_dir, "instances_train2017.json", "train2017")


def test_every_image_is_on_one_side_with_its_own_boxes(whole):
    parts = set_aside(whole, 0.25, seed=3)
    assert [len(part) for part in parts] == [9, 3]
    number = {record.id: index for index, record in enumerate(whole.images)}
    assert sorted(r.id for part in parts for r in part.images) == sorted(number)
    for part in parts:
        for index, record in enumerate(part.images):
            for own, wanted in zip(
                part.targets(index), whole.targets(number[record.id]), strict=True
            ):
                np.testing.assert_array_equal(own, wanted)
            np.testing.assert_array_equal(
                part.read_image(index), whole.read_image(number[record.id])
            )


def test_a_part_is_evaluated_on_its_own_boxes_only(whole):
    rest, aside = set_aside(whole, 0.25, seed=3)
    truth = ground_truth(aside)
    assert {a["image_id"] for a in truth["annotations"]} <= {r.id for r in aside.images}
    counts = [len(ground_truth(part)["annotations"]) for part in (whole, rest, aside)]
    assert counts[0] == counts[1] + counts[2] > counts[1] > 0


def test_the_seed_decides(whole):
    first, again, other = (
        [r.id for r in set_aside(whole, 0.5, seed)[1].images] for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_no_side_is_empty(whole, share):
    with pytest.raises(UsageError, match="at least one has to be on each side"):
        set_aside(whole, share, seed=0)

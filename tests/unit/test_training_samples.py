"""What augmentation does with images: which take part, and that an option of zero means never."""

import numpy as np
import pytest

from yolox.config import AugmentSpec
from yolox.data.augment import (
    PAD_VALUE,
    AffineDraw,
    affine_matrix,
    draw_affine,
    draw_hsv,
    finish_training_sample,
    shift_hsv,
    to_targets,
    warp,
)
from yolox.data.batch import Place, TrainSamples
from yolox.data.mosaic import MixupDraw, draw_centre, draw_mixup, mixup, mosaic
from yolox.data.sample import Sample
from yolox.data.tiles import whole_tile

SIZE = (32, 48)
QUIET = {"hsv_prob": 0.0, "flip_prob": 0.0}
#: Mosaic with nothing else: half the size shows the whole canvas, in sharp colours.
STILL = {**QUIET, "degrees": 0.0, "shear": 0.0, "translate": 0.0, "mosaic_scale": (0.5, 0.5)}


class Colours:
    """A source of images of one colour each, with one box that is the whole image, and some
    images without a box.
    """

    size_hw = SIZE

    def __init__(self, count=20, empty=()):
        self.count, self.empty = count, empty
        self.dataset = self

    def __len__(self):
        return self.count

    def targets(self, index):
        boxes = np.array([[0, 0, SIZE[1], SIZE[0]]], np.float32)
        kept = 0 if index in self.empty else 1
        return boxes[:kept], np.array([index], np.int64)[:kept]

    def sample(self, index):
        return Sample(np.full((*SIZE, 3), colour_of(index), np.uint8), *self.targets(index))

    def tile(self, index):
        return whole_tile(self.sample(index))


def colour_of(index):
    return 2 + 10 * index


def drawn(spec, source=None, count=30):
    """The samples of some positions: image number, image, labels."""
    source = source or Colours()
    samples = TrainSamples(source, AugmentSpec(**spec), seed=0)
    for position in range(count):
        place = Place(position, position % len(source), True)
        image, targets, index = samples[place]
        yield index, image, targets[targets[:, 3] > 0]


def colours(image):
    return set(np.unique(image).tolist()) - {PAD_VALUE}


def test_a_mosaic_shows_its_image_and_three_others():
    counts = []
    for index, image, targets in drawn({**STILL, "mixup_prob": 0.0}):
        found = colours(image)
        assert colour_of(index) in found
        assert found <= {colour_of(other) for other in range(20)}
        assert {colour_of(int(label)) for label in targets[:, 0]} == found
        counts.append(len(found))
    assert max(counts) == 4
    assert np.mean(counts) > 3.5  # now and then one is drawn twice


@pytest.mark.parametrize(
    ("options", "mosaics", "mixed"),
    [
        ({"mosaic_prob": 0.0}, (0, 0), (0, 0)),
        ({"mosaic_prob": 0.3, "mixup_prob": 0.0}, (4, 14), (0, 0)),
        ({"mixup_prob": 0.0}, (30, 30), (0, 0)),
        ({"enable_mixup": False}, (30, 30), (0, 0)),
        ({"mixup_prob": 0.3}, (30, 30), (4, 14)),
        ({}, (30, 30), (30, 30)),
    ],
)
def test_mosaic_and_mixup_happen_as_often_as_asked(options, mosaics, mixed):
    pure = {colour_of(index) for index in range(20)}
    both = [0, 0]
    for index, image, _ in drawn({**STILL, **options}):
        found = colours(image)
        both[1] += bool(found - pure)  # means of two colours
        both[0] += found != {colour_of(index)}
    assert mosaics[0] <= both[0] <= mosaics[1]
    assert mixed[0] <= both[1] <= mixed[1]


def test_mixup_takes_a_partner_with_boxes_where_there_is_one():
    for _, _, targets in drawn(STILL, Colours(20, empty=range(3, 20)), 20):
        assert not len(targets) or len(targets) >= 2  # its own and the partner's
    found = list(drawn(STILL, Colours(20, empty=range(20)), 5))
    assert all(not len(targets) for _, _, targets in found)


def painted():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    boxes = np.array([[4, 6, 14, 26], [30, 2, 44, 12]], np.float32)
    return Sample(image, boxes, np.array([5, 2]))


def finished(sample=None, most=3, **options):
    spec = AugmentSpec(**{**QUIET, "max_labels": most, **options})
    return finish_training_sample(sample or painted(), SIZE, spec, np.random.default_rng(1))


def test_options_of_zero_leave_the_image_as_it_is():
    image, targets = finished()
    assert np.array_equal(image, painted().image.transpose(2, 0, 1))
    assert targets.tolist() == [[5, 9, 16, 10, 20], [2, 37, 7, 14, 10], [0] * 5]


def test_colours_change_and_flips_mirror_where_asked():
    shifted, targets = finished(hsv_prob=1.0)
    assert not np.array_equal(shifted, painted().image.transpose(2, 0, 1))
    assert targets[0].tolist() == [5, 9, 16, 10, 20]
    mirrored, targets = finished(flip_prob=1.0)
    assert np.array_equal(mirrored, painted().image[:, ::-1].transpose(2, 0, 1))
    assert targets[:2].tolist() == [[5, 48 - 9, 16, 10, 20], [2, 48 - 37, 7, 14, 10]]


def test_rows_beyond_the_most_are_left_out_and_tiny_boxes_too():
    assert finished(most=1)[1].tolist() == [[5, 9, 16, 10, 20]]
    boxes = np.array([[4, 6, 5, 26], [4, 6, 5.5, 26]], np.float32)  # 1 and 1.5 pixels wide
    tiny = Sample(painted().image, boxes, np.array([5, 2]))
    rows, survived = to_targets(tiny, 1.0, 2)
    assert rows[:, 0].tolist() == [2, 0]
    assert survived
    assert not to_targets(Sample(tiny.image, boxes[:1], tiny.labels[:1]), 1.0, 2)[1]


def test_an_image_that_loses_all_boxes_goes_on_as_it_was():
    boxes = np.array([[4, 6, 5, 26]], np.float32)
    tiny = Sample(painted().image, boxes, np.array([5]))
    image, targets = finished(tiny, hsv_prob=1.0, flip_prob=1.0)
    assert np.array_equal(image, tiny.image.transpose(2, 0, 1))
    assert targets[0].tolist() == [5, 4.5, 16, 1, 20]


def test_colour_shifts_stay_in_their_ranges_and_use_them():
    rng = np.random.default_rng(0)
    shifts = np.array([draw_hsv(rng) for _ in range(400)])
    assert np.abs(shifts).max(axis=0).tolist() == pytest.approx([5, 30, 30], abs=1)
    assert (shifts.min(axis=0) < -0.8 * np.array([4, 29, 29])).all()
    zero = (shifts == 0).mean(axis=0)  # half are left alone; small ones are cut to 0
    assert (zero > 0.45).all()
    assert (zero < 0.7).all()


def test_saturation_and_value_stop_at_their_ends_and_hue_goes_round():
    pixel = np.array([[[0, 0, 200]]], np.uint8)  # red: hue 0, saturation 255, value 200
    assert shift_hsv(pixel, (0, 0, 100)).tolist() == [[[0, 0, 255]]]
    assert shift_hsv(pixel, (0, -255, 0)).tolist() == [[[200, 200, 200]]]
    assert shift_hsv(pixel, (0, 0, -255)).tolist() == [[[0, 0, 0]]]
    assert shift_hsv(pixel, (60, 0, 0)).tolist() == [[[0, 200, 0]]]  # green
    assert shift_hsv(pixel, (-60, 0, 0)).tolist() == [[[200, 0, 0]]]  # blue
    assert shift_hsv(pixel, (180, 30, 0)).tolist() == pixel.tolist()


def test_affine_draws_stay_in_their_ranges_and_use_them():
    spec = AugmentSpec(degrees=10, translate=0.1, shear=2, mosaic_scale=(0.5, 1.5))
    rng = np.random.default_rng(0)
    draws = np.array([draw_affine(rng, spec) for _ in range(300)])
    low, high = draws.min(axis=0), draws.max(axis=0)
    most = np.array([10, 1.5, 2, 2, 0.1, 0.1])
    least = np.array([-10, 0.5, -2, -2, -0.1, -0.1])
    assert (high <= most).all()
    assert (low >= least).all()
    assert (high - low > 0.95 * (most - least)).all()


def test_boxes_follow_the_pixels_of_a_warp():
    """A bright rectangle and its box: scaled, moved, sheared and turned alike, and cut off."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[20:40, 24:44] = 255
    sample = Sample(image, np.array([[24, 20, 44, 40]], np.float32), np.array([1]))
    for draw in (
        AffineDraw(0, 1.5, 0, 0, 0, 0),
        AffineDraw(0, 1, 0, 0, 0.25, -0.125),
        AffineDraw(0, 1, 10, 0, 0, 0),
        AffineDraw(0, 1, 0, -10, 0, 0),
        AffineDraw(12, 1, 0, 0, 0, 0),
        AffineDraw(0, 1, 0, 0, 0.5, 0),
    ):
        moved = warp(sample, affine_matrix(draw, (64, 64)), (64, 64))
        ys, xs = np.nonzero(moved.image[..., 0] > 127)
        bright = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        np.testing.assert_allclose(moved.boxes_xyxy[0], bright, atol=1.1)
    assert moved.boxes_xyxy[0].tolist() == [56, 20, 64, 40]


def test_tiles_meet_at_the_centre():
    tiles = [Colours().sample(index) for index in range(4)]
    made = mosaic(tiles, (20, 60), SIZE)  # of a canvas of 64 x 96
    assert made.image.shape == (64, 96, 3)
    corners = [made.image[y, x, 0] for y, x in ((19, 59), (19, 60), (20, 59), (20, 60))]
    assert corners == [colour_of(index) for index in range(4)]
    assert made.boxes_xyxy.tolist() == [
        [12, 0, 60, 20],
        [60, 0, 96, 20],
        [12, 20, 60, 52],
        [60, 20, 96, 52],
    ]
    assert made.labels.tolist() == [0, 1, 2, 3]
    for x1, y1, x2, y2 in made.boxes_xyxy.astype(int).tolist():
        assert len(np.unique(made.image[y1:y2, x1:x2])) == 1
    inside = np.zeros((64, 96), bool)
    inside[:52, 12:] = True
    assert (made.image[~inside] == PAD_VALUE).all()
    assert (made.image[inside] != PAD_VALUE).all()


def test_centres_lie_in_the_middle_half():
    rng = np.random.default_rng(0)
    found = np.array([draw_centre(rng, SIZE) for _ in range(300)])
    assert found.min(axis=0).tolist() == pytest.approx([16, 24], abs=1)
    assert found.max(axis=0).tolist() == pytest.approx([47, 71], abs=1)


def test_mixup_draws_use_their_ranges():
    rng = np.random.default_rng(0)
    found = np.array([draw_mixup(rng, (0.5, 1.5)) for _ in range(300)], float)
    assert found.min(axis=0).tolist() == pytest.approx([0.5, 0, 0, 0], abs=0.03)
    assert found.max(axis=0).tolist() == pytest.approx([1.5, 1, 1, 1], abs=0.03)
    assert found[:, 1].mean() == pytest.approx(0.5, abs=0.1)


def test_mixup_is_the_mean_with_a_partner_scaled_mirrored_and_cropped():
    image = np.full((*SIZE, 3), 100, np.uint8)
    sample = Sample(image, np.array([[1, 2, 3, 4]], np.float32), np.array([0]))
    half = np.zeros((*SIZE, 3), np.uint8)
    half[:, :24] = 200  # bright on the left, which the box says
    partner = Sample(half, np.array([[0, 0, 24, 32]], np.float32), np.array([1]))
    same = mixup(sample, partner, MixupDraw(1.0, False, 0.9, 0.9))
    assert same.image[5, 5, 0] == 150
    assert same.image[5, 40, 0] == 50
    assert same.boxes_xyxy.tolist() == [[1, 2, 3, 4], [0, 0, 24, 32]]
    assert same.labels.tolist() == [0, 1]
    mirrored = mixup(sample, partner, MixupDraw(1.0, True, 0.9, 0.9))
    assert mirrored.image[5, 5, 0] == 50
    assert mirrored.boxes_xyxy[1].tolist() == [24, 0, 48, 32]
    double = mixup(sample, partner, MixupDraw(2.0, False, 0.5, 0.5))
    assert double.boxes_xyxy[1].tolist() == [0, 0, 24, 32]  # 48 x 64, less the crop of 24 and 16
    assert double.image[5, 20, 0] == 150
    small = mixup(sample, partner, MixupDraw(0.5, False, 0.5, 0.5))
    assert small.boxes_xyxy[1].tolist() == [0, 0, 12, 16]
    assert small.image[5, 5, 0] == 150
    assert small.image[20, 5, 0] == 50  # black below a partner that is smaller

"""Properties that hold for all boxes, sizes and schedules."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yolox.config import SizeSpec, TrainSpec
from yolox.data.augment import flip, letterbox
from yolox.data.sample import Sample
from yolox.engine.schedule import input_size, learning_rate
from yolox.ops.boxes import cxcywh_to_xyxy, giou_cxcywh, iou_cxcywh, xyxy_to_cxcywh
from yolox.ops.points import decode_boxes, decode_raw, grid_points
from yolox.ops.sparse import decode, encode

coordinate = st.floats(-500, 500, width=32)
extent = st.floats(0.5, 500, width=32)
box = st.tuples(coordinate, coordinate, extent, extent)
boxes = st.lists(box, min_size=1, max_size=8).map(lambda rows: torch.tensor(rows))


@given(boxes)
def test_formats_round_trip(cxcywh):
    torch.testing.assert_close(xyxy_to_cxcywh(cxcywh_to_xyxy(cxcywh)), cxcywh, rtol=1e-3, atol=1e-2)


@given(boxes, boxes)
def test_overlap_is_symmetric_and_bounded(first, second):
    one = iou_cxcywh(first[:, None], second[None])
    other = iou_cxcywh(second[:, None], first[None]).T
    torch.testing.assert_close(one, other)
    assert (one >= 0).all()
    assert (one <= 1 + 1e-3).all()
    general = giou_cxcywh(first[:, None], second[None])
    assert (general <= one + 1e-4).all()
    assert (general >= -1 - 1e-4).all()


@given(boxes)
def test_a_box_overlaps_itself_fully(cxcywh):
    torch.testing.assert_close(
        iou_cxcywh(cxcywh, cxcywh), torch.ones(len(cxcywh)), atol=1e-2, rtol=0
    )


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=50)
def test_letterbox_keeps_aspect_and_fills_the_rest(height, width, rows, columns):
    image = np.zeros((height, width, 3), np.uint8)
    target = (32 * rows, 32 * columns)
    canvas, ratio = letterbox(image, target)
    assert canvas.shape[:2] == target
    inner_h, inner_w = max(int(height * ratio), 1), max(int(width * ratio), 1)
    assert (canvas[:inner_h, :inner_w] == 0).all()
    assert (canvas[inner_h:] == 114).all()
    assert (canvas[:, inner_w:] == 114).all()


@given(st.lists(st.tuples(*[st.floats(0, 32, width=32)] * 4), max_size=5))
def test_flipping_twice_changes_nothing(rows):
    xyxy = np.array(rows, np.float32).reshape(-1, 4)
    image = np.arange(8 * 32 * 3, dtype=np.uint8).reshape(8, 32, 3)
    twice = flip(flip(Sample(image, xyxy, np.zeros(len(xyxy), np.int64))))
    assert np.array_equal(twice.image, image)
    np.testing.assert_allclose(twice.boxes_xyxy, xyxy, atol=1e-4)


@given(st.integers(1, 50), st.integers(0, 5), st.integers(0, 5), st.integers(1, 20))
def test_learning_rate_stays_in_range(max_epoch, warmup, plain, pace):
    spec = TrainSpec(max_epoch=max_epoch, warmup_epochs=warmup, no_aug_epochs=plain)
    rates = [learning_rate(step, pace, 0.1, spec) for step in range(max_epoch * pace)]
    assert all(0 <= rate <= 0.1 + 1e-12 for rate in rates)


@given(st.integers(0, 5000), st.integers(0, 3))
def test_training_sizes_are_multiples_in_range(step, seed):
    spec = SizeSpec((768, 768), (768, 768), 64, (9, 13))
    height, width = input_size(step, seed, spec)
    assert height == width
    assert height % 64 == 0
    assert 9 * 64 <= height <= 13 * 64
    assert input_size(step - step % 10, seed, spec) == (height, width)


def test_points_decode_to_their_cells():
    """Row by row, x before y, level by level; centres move and sizes grow with the stride."""
    points, strides = grid_points([(2, 3), (1, 2)], (8, 16), torch.device("cpu"), torch.float32)
    corners = [(0, 0), (8, 0), (16, 0), (0, 8), (8, 8), (16, 8), (0, 0), (16, 0)]
    sides = [8] * 6 + [16] * 2
    decoded = decode_boxes(torch.zeros(8, 4), points, strides)
    assert decoded.tolist() == [[x, y, s, s] for (x, y), s in zip(corners, sides, strict=True)]
    raw = torch.tensor([[0.25, 0.5, math.log(2), math.log(3)]]).expand(2, 8, 4)  # two images
    wanted = [
        [x + s / 4, y + s / 2, 2 * s, 3 * s] for (x, y), s in zip(corners, sides, strict=True)
    ]
    torch.testing.assert_close(decode_boxes(raw, points, strides), torch.tensor([wanted, wanted]))
    whole = decode_raw(torch.cat([raw, torch.ones(2, 8, 2)], dim=-1)[:, :6], (16, 24), (8,))
    torch.testing.assert_close(whole[0, :, :4], torch.tensor(wanted[:6]))
    assert (whole[..., 4:] == 1).all()


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.tuples(st.integers(1, 9), st.integers(1, 9)))
@settings(max_examples=50)
def test_sparse_storage_loses_nothing(seed, zeros, shape):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator)
    weight *= torch.rand(shape, generator=generator) >= zeros
    assert torch.equal(decode(encode({"w": weight}, "bitmask", torch.float32))["w"], weight)

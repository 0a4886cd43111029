"""Options of an experiment reach what they are meant for."""

import pytest
import torch

from yolox.config import EvalSpec
from yolox.exp import Exp
from yolox.families.yolox.head import Predictions
from yolox.ops.boxes import giou_cxcywh, iou_cxcywh
from yolox.ops.nms import from_graph, postprocess


def experiment(**options):
    exp = Exp()
    for key, value in options.items():
        setattr(exp, key, value)
    return exp


def box_loss(**options):
    """Of one object where one point of a single cell predicts it, off by a quarter."""
    criterion = experiment(num_classes=1, **options).get_criterion()
    sizes = ((1, 1), (1, 1), (1, 1))
    box = torch.zeros(1, 3, 4)  # an 8-pixel box at the corner, and larger ones
    zero = torch.zeros(1, 3, 1)
    targets = torch.tensor([[[0.0, 2.0, 0.0, 8.0, 8.0]]])
    found = criterion(Predictions(box, zero, zero, sizes), targets)
    return float(found["iou_loss"]), int(found["num_fg"])


def overlaps():
    """IoU and GIoU of the target with the boxes of the three points."""
    target = torch.tensor([[2.0, 0.0, 8.0, 8.0]])
    boxes = torch.tensor([[0.0, 0.0, side, side] for side in (8.0, 16.0, 32.0)])
    return iou_cxcywh(boxes, target), giou_cxcywh(boxes, target)


def test_the_box_loss_is_the_one_that_was_chosen():
    iou, giou = overlaps()
    plain, points = box_loss()
    assert points == 1  # the point that fits best: the sum of IoUs is below 2
    assert plain == pytest.approx(5 * float(1 - iou[0] ** 2), rel=1e-4)
    assert box_loss(iou_weight=2.0)[0] == pytest.approx(0.4 * plain, rel=1e-4)
    assert box_loss(iou_loss="giou")[0] == pytest.approx(5 * float(1 - giou[0]), rel=1e-4)
    assert float(1 - giou[0]) != pytest.approx(float(1 - iou[0] ** 2), rel=0.05)


# cx, cy, w, h, objectness, class 0, class 1: neighbours that overlap by 0.6
LEFT = (50.0, 50, 20, 20, 0.9, 0.8, 0.1)
RIGHT = (55.0, 50, 20, 20, 0.8, 0.7, 0.1)
OTHER = (50.0, 50, 20, 20, 0.5, 0.1, 0.9)  # the same place, another class


def found(spec, *rows):
    return len(postprocess(torch.tensor([rows]), spec)[0])


@pytest.mark.parametrize(("nms", "kept"), [(0.5, 1), (0.59, 1), (0.61, 2), (0.7, 2)])
@pytest.mark.parametrize("agnostic", [False, True])
def test_the_threshold_of_suppression(nms, kept, agnostic):
    exp = experiment(nmsthre=nms, class_agnostic=agnostic, test_conf=0.3)
    assert found(exp.eval_spec(), LEFT, RIGHT) == kept


def test_classes_suppress_each_other_only_where_asked():
    assert found(experiment(nmsthre=0.5).eval_spec(), LEFT, OTHER) == 2
    assert found(experiment(nmsthre=0.5, class_agnostic=True).eval_spec(), LEFT, OTHER) == 1


@pytest.mark.parametrize(("conf", "kept"), [(0.4, 2), (0.6, 1), (0.71, 1), (0.73, 0)])
def test_the_threshold_of_scores(conf, kept):
    assert found(experiment(test_conf=conf, nmsthre=0.9).eval_spec(), LEFT, RIGHT) == kept


def test_several_classes_of_a_point():
    rows = ((*LEFT[:5], 0.8, 0.6),)
    assert found(experiment(test_conf=0.1).eval_spec(), *rows) == 1
    assert found(experiment(test_conf=0.1, multi_class=True).eval_spec(), *rows) == 2


def test_rows_of_a_graph_keep_their_class_and_score():
    rows = torch.tensor([[[1.0, 2, 3, 4, 0.5, 6], [1, 2, 3, 4, 0.2, 0], [0, 0, 0, 0, 0.9, -1]]])
    kept = from_graph(rows, EvalSpec(conf=0.3))
    assert [image.tolist() for image in kept] == [[[1, 2, 3, 4, 0.5, 1, 6]]]

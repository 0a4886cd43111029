"""EfficientDet: sizes as published, and the same numbers as the package effdet 0.4.1."""

import sys
import warnings

import pytest
import torch
from torch import nn

from tests.tiny_models import spread_statistics
from yolox.engine import checkpoint
from yolox.engine.restore import load_for_tuning, restore
from yolox.errors import ModelError, UsageError
from yolox.exp import get_exp
from yolox.families.efficientdet import EfficientDetLoss, EfficientDetSpec
from yolox.families.efficientdet.anchors import COUNT, anchors, decode, encode
from yolox.families.efficientdet.backbone import timm_backbone
from yolox.models.complexity import count_parameters
from yolox.models.fuse import fuse
from yolox.ops.boxes import cxcywh_to_xyxy
from yolox.ops.nms import postprocess

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what timm and effdet import
    from effdet import EfficientDet, get_efficientdet_config
    from effdet.anchors import AnchorLabeler, Anchors, generate_detections
    from effdet.bench import _post_process
    from effdet.loss import DetectionLoss

PUBLISHED = {  # parameters with 90 and with 20 classes
    0: (3_880_067, 3_839_117),
    1: (6_625_898, 6_569_828),
    2: (8_097_039, 8_025_849),
    3: (12_032_296, 11_930_866),
    4: (20_723_675, 20_581_925),
    5: (33_653_315, 33_471_245),
    6: (51_871_782, 51_629_232),
    7: (51_871_782, 51_629_232),
}
SIZE = (128, 256)


def spec_of(number, classes=90):
    exp = get_exp(exp_name=f"efficientdet-d{number}")
    exp.num_classes = classes
    return exp.detector_spec()


@pytest.mark.parametrize("number", PUBLISHED)
@pytest.mark.parametrize("classes", [90, 20])
def test_parameters(number, classes):
    with torch.device("meta"):
        model = spec_of(number, classes).build()
    assert count_parameters(model) == PUBLISHED[number][classes == 20]


@pytest.fixture(scope="module", params=[0, 1])
def pair(request):
    """A network of effdet with uneven statistics, and ours with its weights."""
    torch.manual_seed(1)
    config = get_efficientdet_config(f"tf_efficientdet_d{request.param}")
    config.image_size = SIZE
    theirs = EfficientDet(config, pretrained_backbone=False).eval()
    spread_statistics(theirs)
    with torch.no_grad():
        theirs.class_net.predict.conv_pw.weight *= 10  # scores that differ
    ours = spec_of(request.param).build().eval()
    state = ours.adopt(theirs.state_dict())
    assert set(state) == set(ours.state_dict())  # every key of theirs has one place here
    ours.load_state_dict(state)
    images = torch.rand(2, 3, *SIZE) * 255
    with torch.no_grad():
        return config, theirs(ours.input(images)), ours, ours.raw(images)


def test_outputs_are_those_of_effdet(pair):
    _, theirs, _, raw = pair
    for levels, found, columns in zip(theirs, (raw.cls, raw.box), (90, 4), strict=True):
        expected = torch.cat([m.permute(0, 2, 3, 1).reshape(2, -1, columns) for m in levels], 1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_losses_are_those_of_effdet(pair, seed):
    config, (cls, box), _, raw = pair
    generator = torch.Generator().manual_seed(seed)
    count = 1 + seed
    limits = torch.tensor([SIZE[1], SIZE[0]])
    centre = torch.rand(2, count, 2, generator=generator) * limits
    size = torch.rand(2, count, 2, generator=generator) * limits * 0.6 + 3
    if seed % 2:  # boxes of whole pixels, whose overlaps are often equal
        centre, size = centre.round(), (size / 2).round() * 2
    label = torch.randint(0, 90, (2, count), generator=generator)
    objects = torch.cat([label[..., None].float(), centre, size], dim=-1)
    corners = cxcywh_to_xyxy(objects[..., 1:])[..., [1, 0, 3, 2]]
    labeler = AnchorLabeler(Anchors.from_config(config), 90, match_threshold=0.5)
    wanted = labeler.batch_label_anchors([*corners], [*(label + 1)])
    total, focal, huber = DetectionLoss(config)(cls, box, *wanted)
    found = EfficientDetLoss(4.0)(raw, torch.cat([objects, torch.zeros(2, 2, 5)], dim=1))
    assert float(found["positives"]) == float(wanted[2].sum())
    torch.testing.assert_close(found["focal_loss"], focal, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["box_loss"], 50 * huber, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["total_loss"], total, rtol=1e-4, atol=1e-4)


def test_detections_are_those_of_effdet(pair):
    config, (cls, box), ours, raw = pair
    fixed = Anchors.from_config(config).boxes
    best = _post_process(cls, box, num_levels=5, num_classes=90, max_detection_points=5000)
    exp = get_exp(exp_name="efficientdet-d0")
    exp.test_conf = 0.0
    detections = postprocess(ours.decode(raw, SIZE), exp.eval_spec())
    for image, found in enumerate(detections):
        scores, boxes, index, label = (part[image] for part in best)
        expected = generate_detections(scores, boxes, fixed, index, label, None, None)
        expected[:, 5] -= 1
        assert len(found) == len(expected) == 100
        rows = torch.cat([found[:, :4], found[:, 4:5] * found[:, 5:6], found[:, 6:]], dim=1)
        apart = (rows[:, None] - expected).abs() / torch.tensor([1e-2] * 4 + [1e-5, 1e-3])
        near = apart.amax(-1) < 1  # equal scores may come in another order
        assert near.any(0).all()
        assert near.any(1).all()
        torch.testing.assert_close(rows[:, 4], expected[:, 4], rtol=1e-4, atol=1e-5)


def test_a_checkpoint_of_effdet_is_evaluated_and_tuned(tmp_path):
    config = get_efficientdet_config("tf_efficientdet_d0")
    theirs = EfficientDet(config, pretrained_backbone=False)
    path = tmp_path / "tf_efficientdet_d0.pth"
    torch.save(theirs.state_dict(), path)
    exp = get_exp(exp_name="efficientdet-d0")
    exp.num_classes = 90
    model = restore(path, exp.detector_spec()).model
    own = model.state_dict()
    for key in ("backbone.conv_stem.weight", "head.box.predict.pointwise.bias"):
        assert key in own
    torch.testing.assert_close(
        own["head.box.predict.pointwise.weight"], theirs.box_net.predict.conv_pw.weight
    )
    exp.num_classes = 4
    tuned = exp.get_model()
    fresh = load_for_tuning(tuned, checkpoint.read(path), path)
    assert fresh == ["head.cls.predict.pointwise.weight", "head.cls.predict.pointwise.bias"]


def test_an_anchor_by_its_definition():
    fixed = anchors([(2, 3), (1, 2), (1, 1), (1, 1), (1, 1)], 4.0, torch.empty(0))
    assert fixed.shape == (COUNT * (6 + 2 + 3), 4)
    assert fixed[0].tolist() == [4, 4, 32, 32]  # the first cell of stride 8
    octave = 2 ** (2 / 3)  # the last size, the second shape, of the fifth cell
    expected = torch.tensor([12, 12, 32 * 1.4 * octave, 32 * 0.7 * octave])
    torch.testing.assert_close(fixed[COUNT * 4 + 7], expected)


def test_boxes_are_encoded_and_decoded_back():
    fixed = anchors([(2, 3), (1, 2), (1, 1), (1, 1), (1, 1)], 4.0, torch.empty(0))
    boxes = torch.rand(len(fixed), 4) * 50 + 5
    found = decode(encode(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(fixed)), fixed)
    torch.testing.assert_close(found, boxes, rtol=1e-4, atol=1e-3)


def test_a_loss_without_objects():
    model = spec_of(0, classes=2).build()
    raw = model.raw(torch.zeros(2, 3, 128, 128))
    found = EfficientDetLoss(4.0)(raw, torch.zeros(2, 3, 5))
    found["total_loss"].backward()
    assert found["positives"] == found["box_loss"] == 0


def test_activations_stand_beside_the_batch_norms_of_timm():
    """Folding the batch norms away must not lose them."""
    torch.manual_seed(0)
    model = spec_of(0, classes=2).build().eval()
    image = torch.rand(1, 3, 128, 128) * 255
    with torch.no_grad():
        found, expected = fuse(model)(image), model(image)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    assert not any(hasattr(m, "act") for m in model.modules() if isinstance(m, nn.BatchNorm2d))


def test_a_missing_timm_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"tf_efficientnet_b0 needs the package timm.*\[timm\]"):
        EfficientDetSpec().build()


def test_pretrained_weights_that_cannot_be_had(monkeypatch):
    import timm

    def offline(*_, **__):
        raise OSError("no route\nto host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UsageError, match=r"tf_efficientnet_b0 cannot be had: no route$"):
        timm_backbone("tf_efficientnet_b0", pretrained=True)


def test_a_classifier_of_timm_gives_its_backbone(tmp_path):
    """Names of the classifier, as published; its last layers are not of a detector."""
    import timm

    classifier = timm.create_model("tf_efficientnet_b0")
    model = spec_of(0, classes=2).build()
    found = model.pretrained(classifier.state_dict())
    wanted = [key for key in model.state_dict() if key.startswith("backbone.")]
    assert set(wanted) <= set(found)
    model.load_state_dict({key: found[key] for key in wanted}, strict=False)
    torch.testing.assert_close(model.backbone.conv_stem.weight, classifier.conv_stem.weight)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_classes": 0}, "num_classes"),
        ({"backbone": "tf_efficientnet_b9"}, "tf_efficientnet_b9"),
        ({"fusion": "wighted"}, "wighted"),
        ({"pyramid_cells": 0}, "pyramid_cells"),
        ({"anchor_scale": 0.0}, "anchor_scale"),
        ({"drop_path": 1.0}, "drop_path"),
    ],
)
def test_specs_that_cannot_be(options, said):
    with pytest.raises(ValueError, match=said):
        EfficientDetSpec(**options)


def test_a_checkpoint_of_another_family_is_refused(tmp_path):
    exp = get_exp(exp_name="efficientdet-d0")
    model = get_exp(exp_name="yolox-nano").get_model()
    path = tmp_path / "yolox.pth"
    torch.save({"model": model.state_dict()}, path)
    with pytest.raises(ModelError, match=r"yolox\.pth"):
        restore(path, exp.detector_spec())

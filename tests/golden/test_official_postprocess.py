"""Postprocessing of official YOLOX 0.3.0, fed with its stored network outputs."""

import numpy as np
import pytest
import torch

from tests.golden.reference import detections, load_arrays, network_outputs
from yolox.config import EvalSpec
from yolox.ops.nms import postprocess


@pytest.mark.parametrize(("name", "images"), [("nano", 2), ("s", 1)])
@pytest.mark.parametrize("agnostic", [False, True])
def test_detections(name, images, agnostic):
    stored = load_arrays(f"eval_{name}")
    spec = EvalSpec(conf=0.001, nms=0.65, class_agnostic=agnostic)
    ours = postprocess(torch.from_numpy(network_outputs(stored)), spec)
    for image in range(images):
        kept = stored[f"post_agnostic_{image}" if agnostic else f"post_{image}"]
        wanted = detections(stored, image)[kept]
        found = ours[image].numpy()
        assert found.shape == wanted.shape
        scores = found[:, 4] * found[:, 5]
        assert (np.diff(scores) <= 0).all()
        np.testing.assert_allclose(_sorted(found), _sorted(wanted), rtol=1e-6, atol=1e-5)


def _sorted(rows):
    return rows[np.lexsort(rows.T)]

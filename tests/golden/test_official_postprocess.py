"""Postprocessing of official YOLOX 0.3.0, fed with its stored network outputs."""

import numpy as np
import pytest
import torch

from yolox.config import EvalSpec
from yolox.ops.nms import postprocess


@pytest.mark.parametrize(("name", "images"), [("nano", 2), ("s", 1)])
@pytest.mark.parametrize("agnostic", [False, True])
def test_detections(golden_dir, name, images, agnostic):
    stored = np.load(golden_dir / f"eval_{name}.npz")
    spec = EvalSpec(conf=0.001, nms=0.65, class_agnostic=agnostic)
    ours = postprocess(torch.from_numpy(stored["decoded"]), spec)
    for image in range(images):
        wanted = stored[f"post_agnostic_{image}" if agnostic else f"post_{image}"]
        found = ours[image].numpy()
        assert found.shape == wanted.shape
        scores = found[:, 4] * found[:, 5]
        assert (np.diff(scores) <= 0).all()
        np.testing.assert_allclose(_sorted(found), _sorted(wanted), rtol=1e-6, atol=1e-5)


def _sorted(rows):
    return rows[np.lexsort(rows.T)]

"""A checkpoint to run commands on."""

import pytest
import torch

from tests.tiny_models import spread_scores
from yolox.engine import checkpoint
from yolox.exp import get_exp
from yolox.families import spec_to_dict


@pytest.fixture
def ckpt(tmp_path, tiny_exp):
    """A dense checkpoint of the tiny experiment with random weights."""
    exp = get_exp(exp_file=str(tiny_exp))
    torch.manual_seed(0)
    path = tmp_path / "dense.pth"
    spec = spec_to_dict(exp.detector_spec())
    origin = {"file": str(tiny_exp), "name": None, "options": exp.options()}
    model = exp.get_model()
    spread_scores(model)
    content = {"model": model.state_dict(), "spec": spec, "exp": origin}
    checkpoint.save(path, content)
    return path

"""Fast copies of modules are as deep as `copy.deepcopy`'s."""

import pytest
import torch
from torch import nn

from yolox.models.copies import copied, copied_without_values


class Tied(nn.Module):
    """Two layers of one weight, with a batch norm between."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.norm(self.first(x)))


def test_a_copy_shares_nothing():
    model = Tied()
    model.first.register_forward_hook(lambda *_: calls.append("old"))
    calls = []
    copy = copied(model)
    inputs = torch.randn(3, 4)
    assert torch.equal(copy.eval()(inputs), model.eval()(inputs))
    assert calls == ["old", "old"]
    assert copy.second.weight is copy.first.weight
    before = {key: value.clone() for key, value in model.state_dict().items()}
    copy.second.register_forward_hook(lambda *_: calls.append("new"))
    copy.train()(inputs).sum().backward()
    with torch.no_grad():
        copy.first.weight.zero_()
    calls.clear()
    model(inputs)
    assert calls == ["old"]
    assert not any(parameter.grad is not None for parameter in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("frozen", [False, True])
def test_a_copy_without_values(frozen):
    model = Tied().requires_grad_(not frozen)
    copy = copied_without_values(model)
    assert all(value.is_meta for value in copy.state_dict().values())
    assert copy.second.weight is copy.first.weight
    assert all(parameter.requires_grad != frozen for parameter in copy.parameters())
    assert copy(torch.empty(3, 4, device="meta")).shape == (3, 4)
    assert not any(value.is_meta for value in model.state_dict().values())

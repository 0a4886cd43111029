"""Linear layers as 1x1 convolutions, so that what they read can be cut like anything else."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolox.models.copies import copied


class PointwiseLinear(nn.Module):
    """The same function as the linear layer that it is made from."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        out, inputs = linear.weight.shape
        self.conv = nn.Conv2d(inputs, out, 1, bias=linear.bias is not None)
        with torch.no_grad():
            self.conv.weight = nn.Parameter(
                linear.weight.detach().clone()[:, :, None, None], linear.weight.requires_grad
            )
            if linear.bias is not None:
                self.conv.bias = nn.Parameter(
                    linear.bias.detach().clone(), linear.bias.requires_grad
                )

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs] -> [B, outputs]; inputs of more dimensions as of a linear layer."""
        if x.dim() != 2:
            return F.linear(x, self.conv.weight.flatten(1), self.conv.bias)
        out: Tensor = self.conv(x.reshape(*x.shape, 1, 1))
        return out.reshape(out.shape[0], -1)


def with_pointwise_linears(module: nn.Module) -> nn.Module:
    """A copy in which every `nn.Linear` is a `PointwiseLinear`."""
    if type(module) is nn.Linear:
        return PointwiseLinear(module).train(module.training)
    changed = copied(module)
    for parent in list(changed.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, PointwiseLinear(child).train(child.training))
    return changed

"""How far probabilities are from those of another model."""

import torch.nn.functional as F
from torch import Tensor


def divergence(own: Tensor, wanted: Tensor) -> Tensor:
    """Binary cross-entropy of logits less the other's own entropy: 0 where they agree.

    In float32, of the shape of the inputs.
    """
    own, wanted = own.float(), wanted.float()
    target = wanted.sigmoid()
    cross = F.binary_cross_entropy_with_logits(own, target, reduction="none")
    return cross - F.binary_cross_entropy_with_logits(wanted, target, reduction="none")

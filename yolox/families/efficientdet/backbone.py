"""EfficientNets of timm, with every batch norm a layer of its own."""

import warnings
from collections import OrderedDict
from typing import Any

from torch import nn

from yolox.errors import UsageError

STAGES = (2, 3, 4)  # of strides 8, 16 and 32


def timm_backbone(
    name: str, drop_path: float = 0.0, *, pretrained: bool = False
) -> tuple[Any, list[int]]:
    """A network that gives three features, and their channels.

    Timm's batch norms apply their activations, too, which hides them from whoever folds a batch
    norm into a convolution: here they stand side by side, as `norm` and `act`. pretrained: with
    ImageNet's weights, from timm's cache or downloaded. Raises UsageError where timm is not
    installed, or its weights cannot be had.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm imports parts of torch that are deprecated
        try:
            import timm  # noqa: PLC0415 - takes seconds
        except ImportError as error:
            raise UsageError(
                f"backbone {name} needs the package timm, which is not installed ({error}): "
                "pip install -e '.[timm]'"
            ) from error
        try:
            network = timm.create_model(
                name,
                pretrained=pretrained,
                features_only=True,
                out_indices=STAGES,
                drop_path_rate=drop_path,
            )
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            reason = str(error).split("\n")[0]
            raise UsageError(f"pretrained weights of {name} cannot be had: {reason}") from error
    for parent in list(network.modules()):
        for key, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d) and hasattr(child, "act"):
                setattr(parent, key, _apart(child))
    return network, network.feature_info.channels()


def _apart(norm: Any) -> nn.Sequential:
    """A batch norm of timm as a plain one and its activation."""
    plain = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    plain.load_state_dict(norm.state_dict(), assign=True)
    return nn.Sequential(OrderedDict(norm=plain, act=norm.act))

"""Optimisers: weight decay on convolution weights only, as in YOLOX."""

import inspect
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD, Adam, AdamW, Optimizer

from yolox.config import TrainSpec

ADAM_BETA2 = 0.999  # Kingma 2015
ADAPTIVE: dict[str, type[Adam]] = {"adam": Adam, "adamw": AdamW}
HOW_COMPUTED = ("fused", "foreach", "capturable")  # options of PyTorch's optimisers
Kind = TypeVar("Kind", bound=Optimizer)
# PyTorch wraps these to keep its compiler away from them.
UNCOMPILED = ("step", "zero_grad", "add_param_group", "state_dict", "load_state_dict")


def parameter_groups(
    model: nn.Module,
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """(norm weights, other weights, biases), each in module order: YOLOX's three groups.

    The order is that of official checkpoints, so that their optimiser state fits. Parameters of
    other names stand behind them: with the norms where they are vectors (weights of a sum), which
    do not decay, with the weights otherwise.
    """
    norms: list[nn.Parameter] = []
    weights: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    for module in model.modules():
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            biases.append(bias)
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter):
            (norms if isinstance(module, _BatchNorm) else weights).append(weight)
    named = {id(parameter) for group in (norms, weights, biases) for parameter in group}
    for parameter in model.parameters():
        if id(parameter) not in named:
            (norms if parameter.dim() <= 1 else weights).append(parameter)
    return norms, weights, biases


def make_optimizer(model: nn.Module, spec: TrainSpec, scaled: bool = False) -> Optimizer:
    """SGD with Nesterov momentum (YOLOX), Adam (Kingma 2015) or AdamW (Loshchilov 2019).

    Over the three groups; Adam adds the weight decay to the gradients, AdamW does not.

    The learning rate is set before every step by the schedule. All parameters are changed in one
    call ("fused"), which takes a third of the time on the CPU; but not behind a scaler of losses
    (`scaled`), where a first step that overflows would leave its garbage as momentum.
    """
    fused = None if scaled else True  # False would also forbid PyTorch to take several at once
    norms, weights, biases = parameter_groups(model)
    groups: list[dict[str, Any]] = [
        {"params": norms, "weight_decay": 0.0},
        {"params": weights, "weight_decay": spec.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    if spec.optimizer in ADAPTIVE:
        betas = (spec.momentum, ADAM_BETA2)
        return uncompiled(ADAPTIVE[spec.optimizer])(groups, lr=0.0, betas=betas, fused=fused)
    nesterov = spec.momentum > 0
    momentum: dict[str, Any] = {"momentum": spec.momentum, "nesterov": nesterov}
    sgd = uncompiled(SGD)(groups, lr=0.0, fused=fused, **momentum)
    _make_ready(sgd)
    return sgd


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Take up what `state_dict` gave in any run. Raises ValueError where it does not fit.

    How the steps are computed stays as it is in this run.
    """
    own = [
        {key: group[key] for key in HOW_COMPUTED if key in group}
        for group in optimizer.param_groups
    ]
    groups = [saved | kept for saved, kept in zip(state["param_groups"], own, strict=True)]
    optimizer.load_state_dict(state | {"param_groups": groups})
    _make_ready(optimizer)


def _make_ready(optimizer: Optimizer) -> None:
    """What fused steps need: every parameter's momentum, and states laid out as parameters are.

    A momentum of zero is as good as none: the first gradient is added to it.
    """
    for group in optimizer.param_groups:
        if not group["fused"]:
            continue
        for parameter in group["params"]:
            if group.get("momentum") and optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            state = optimizer.state.get(parameter, {})
            for key, value in state.items():
                if isinstance(value, Tensor) and _lies_otherwise(value, parameter):
                    state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _lies_otherwise(value: Tensor, parameter: Tensor) -> bool:
    return value.shape == parameter.shape and value.stride() != parameter.stride()


def uncompiled(kind: type[Kind]) -> type[Kind]:
    """The same optimiser, which does not import PyTorch's compiler to keep it away (2 to 3 s).

    Nothing compiles an optimiser here, and `differentiable` is not used.
    """
    own: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in UNCOMPILED}
    own["step"] = torch.no_grad()(own["step"])
    return cast("type[Kind]", type(kind.__name__, (kind,), own))

"""Gradients of the loss on labelled images, for criteria that ask how the loss would change."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from yolox.compress.calibration import LabelledSet
from yolox.compress.fingerprint import Fingerprints
from yolox.data.augment import all_targets, letterbox
from yolox.data.sample import channels_first
from yolox.engine.state import Experiment
from yolox.exp import BaseExp
from yolox.export.calibration import chosen_images
from yolox.models.copies import copied
from yolox.models.network import Network


@dataclass(frozen=True)
class TrainingLoss:
    """The loss of an experiment on at most `count` of its training images."""

    exp: BaseExp
    count: int

    def gradients(self, model: Network) -> dict[str, Tensor]:
        """Its mean gradient, by parameter. Raises DataError where there are no images."""
        return loss_gradients(model, self.exp, self.count)

    def fingerprint(self, fingerprints: Fingerprints) -> Any:
        """The labels, the images that are used, and the options of the loss."""
        dataset = self.exp.get_dataset()
        labelled = LabelledSet(dataset, tuple(chosen_images(len(dataset), self.count)))
        return fingerprints.of({"data": labelled, "loss": self.exp.own_options()})


def loss_gradients(model: Network, exp: Experiment, count: int) -> dict[str, Tensor]:
    """The mean gradient over at most `count` training images, without augmentation, by parameter.

    Batch norms use their statistics as in deployment. The model is left as it is.
    """
    probe = copied(model).train().requires_grad_(True)
    for module in probe.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    device = next(probe.parameters()).device
    criterion, dataset = exp.get_criterion(), exp.get_dataset()
    size_hw, most = exp.size_spec().test_size, exp.augment_spec().max_labels
    chosen = chosen_images(len(dataset), count)
    for index in chosen:
        sample = dataset.sample(index)
        canvas, ratio = letterbox(sample.image, size_hw)
        image = torch.from_numpy(channels_first(canvas))[None].to(device).float()
        targets = torch.from_numpy(all_targets(sample, ratio, most))[None].to(device)
        loss = criterion(probe(image), targets)["total_loss"] / len(chosen)
        loss.backward()  # type: ignore[no-untyped-call]
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in probe.named_parameters()
    }

"""The seam between a detector family and everything else.

A family is a spec (plain data), a detector (a module) and a criterion. What they have here is all
that trainer, evaluation, compression, export and backends know of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from yolox.config import in_range
from yolox.errors import UsageError
from yolox.models.network import Network

CountMean = Callable[[Tensor], Tensor]
Distance = Callable[[Any, Any], Tensor]  # `Criterion.distance`


@dataclass(frozen=True)
class DetectorSpec:
    """How to build the dense detector of a family: plain values, checked when it is made.

    A family derives its own from it, with `family`, the name that checkpoints state; fields must
    have defaults, and their values must be what JSON can hold (tuples for lists). Raises ValueError
    for values that cannot be.
    """

    family: ClassVar[str] = ""
    has_flat: ClassVar[bool] = False  # whether there are `Detector.flat` and `decode_flat`
    num_classes: int = 80

    def __post_init__(self) -> None:
        in_range(self, 1, ("num_classes",))

    @property
    def divisor(self) -> int:
        """Height and width of an input must be multiples of this."""
        raise NotImplementedError

    def build(self) -> "Detector":
        """A fresh detector with random weights."""
        raise NotImplementedError

    @classmethod
    def decode_flat(
        cls, flat: Tensor, size_hw: tuple[int, int], strides: tuple[int, ...]
    ) -> Tensor:
        """What `Detector.flat` gives, [B, K, 5 + C], decoded: for files exported without decoding.

        Raises UsageError where the family has no such form.
        """
        raise UsageError(f"models of the family {cls.family!r} are exported decoded only")


class Detector(Network):
    """Images in, predictions out: [B, 3, H, W], BGR, 0-255, float, normalised inside if at all.

    divisor: as the spec's. strides: pixels per cell of each level, where the family has levels.
    class_keys: beginnings of the names of weights that another number of classes starts anew.
    pretrained_keys: beginnings of the names of weights that a pretrained classifier has, too; empty
        where the family is trained from nothing.
    feature_readers: the convolutions that read the features which a student learns from its
        teacher; empty where the family has none.
    """

    strides: tuple[int, ...] = ()
    class_keys: tuple[str, ...] = ()
    pretrained_keys: tuple[str, ...] = ()

    @property
    def feature_readers(self) -> list[str]:
        return []

    def adopt(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights that others publish for this detector, under its own names.

        State dictionaries of other names come back as they are.
        """
        return state

    def pretrained(self, state: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        """Weights of a classifier's backbone under the detector's names.

        state: those of a file; None downloads what the backbone's library offers. Raises UsageError
        where the family takes none, or they cannot be had.
        """
        raise UsageError(f"a {type(self).__name__} takes no pretrained backbone")

    def raw(self, images: Tensor) -> Any:
        """Raw predictions, the family's own NamedTuple, in either mode."""
        raise NotImplementedError

    def decode(self, raw: Any, size_hw: tuple[int, int]) -> Tensor:
        """Raw predictions of images of `size_hw` pixels -> [B, K, 5 + C] in float32.

        cx, cy, w, h in pixels; objectness, 1 where the family has none; probabilities of classes.
        """
        raise NotImplementedError

    def flat(self, raw: Any) -> Tensor:
        """Raw predictions as one tensor [B, K, 5 + C], for `DetectorSpec.decode_flat`.

        Raises UsageError where the family has no such form.
        """
        raise UsageError(f"a {type(self).__name__} is exported decoded only")

    def forward(self, images: Tensor) -> Any:
        """Raw predictions in training mode, decoded ones in evaluation mode."""
        raw = self.raw(images)
        if self.training:
            return raw
        return self.decode(raw, (images.shape[-2], images.shape[-1]))


class Criterion(Protocol):
    """Judges raw predictions; the detector knows nothing of it.

    mean_over_processes: takes a count [1] of this process (of objects, of foreground points) that
        losses are divided by, and returns its mean over processes, so that averaged gradients are
        those of one process with the whole batch.
    """

    mean_over_processes: CountMean

    def __call__(
        self, raw: Any, targets: Tensor, /, *, plain: bool = False
    ) -> Mapping[str, Tensor]:
        """Scalars by name: `total_loss`, which is minimised, and whatever else is to be logged.

        targets: [B, N, 5] class, cx, cy, w, h (pixels); rows without a size are padding.
        plain: in the last epochs, without mosaic and mixup.
        """
        ...

    def distance(self, own: Any, wanted: Any, /) -> Tensor:
        """How far raw predictions are from those of another model: a scalar, 0 where they agree."""
        ...


def unchanged(count: Tensor) -> Tensor:
    """`Criterion.mean_over_processes` of a process alone."""
    return count

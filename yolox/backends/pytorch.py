"""PyTorch itself: eager, or compiled by torch.compile."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from yolox.backends.base import Backend, ModelInfo, check_images
from yolox.errors import UsageError
from yolox.models.copies import copied

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend(Backend):
    """A module on a device.

    model: any module from images to decoded predictions; with another precision than fp32 a copy
        in that precision is run (decoding stays in float32).
    channels_last: the memory layout; None takes the quicker one: channels-last on the CPU
        (measured, see benchmarks/README.md) and in half precision on CUDA, else channels-first.
    Raises UsageError for int8, which is a matter of exported files.
    """

    def __init__(
        self,
        model: nn.Module,
        info: ModelInfo,
        device: torch.device | None = None,
        precision: str = "fp32",
        *,
        compiled: bool = False,
        channels_last: bool | None = None,
    ):
        if precision not in DTYPES:
            raise UsageError(
                f"precision {precision!r} of the torch backend is none of {', '.join(DTYPES)}"
            )
        self.name = "compile" if compiled else "torch"
        self.precision, self.info = precision, info
        self._device = device or torch.device("cpu")
        self._dtype = DTYPES[precision]
        if channels_last is None:
            channels_last = _channels_last_wins(self._device, self._dtype)
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        if precision != "fp32":
            model = copied(model)
        model = model.to(self._device, self._dtype).eval()
        model = model.to(memory_format=self._layout)  # type: ignore[call-overload]
        self._model: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model

    @property
    def device(self) -> str:
        """As torch names it."""
        return str(self._device)

    @property
    def framework(self) -> str:
        """PyTorch."""
        return f"pytorch {torch.__version__}"

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> decoded predictions [B, A, 5 + C] on the device."""
        check_images(images, self.info)
        x = images.to(self._device, non_blocking=True).to(self._dtype)
        decoded = self._model(x.contiguous(memory_format=self._layout))
        _synchronize(self._device)
        return decoded


def _channels_last_wins(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cpu" or (device.type == "cuda" and dtype != torch.float32)


def _synchronize(device: torch.device) -> None:
    """Wait for the device's queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()

"""OpenVINO, from an ONNX file or from OpenVINO's own format (.xml with .bin)."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yolox.backends.base import FileBackend, ModelInfo, require_extra
from yolox.errors import ModelError, UsageError
from yolox.files import is_file

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
METADATA = "yolox"  # the section of an .xml file's runtime information


class OpenVinoBackend(FileBackend):
    """A file in OpenVINO, on the CPU unless told otherwise.

    precision: fp32, bf16 or fp16 of the arithmetic; int8 files stay int8, and what is not
    quantised in them is computed in fp32.
    Raises ModelError for a file that is no detector, UsageError for an absent package.
    """

    name = "openvino"

    def __init__(
        self,
        path: str | Path,
        info: ModelInfo | None = None,
        *,
        precision: str = "fp32",
        threads: int = 0,
        device: str = "CPU",
    ):
        core = shared_core()
        model = read_model(core, path)
        self.info = info or ModelInfo.from_metadata(_metadata(model, path), path)
        self.precision = "int8" if self.info.precision == "int8" else precision
        self._device = device
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._model = core.compile_model(model, device, settings)
        except RuntimeError as error:
            raise ModelError(
                f"model {path} cannot be run by OpenVINO on {device}: {_reason(error)}"
            ) from error
        self._require_precision()

    def _require_precision(self) -> None:
        """Raises UsageError where the device computes in another precision than asked for."""
        chosen = self._model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if self.precision in ("bf16", "fp16") and chosen != HINTS[self.precision]:
            raise UsageError(f"OpenVINO computes in {chosen} here, not in {self.precision}")

    @property
    def device(self) -> str:
        """As OpenVINO names it."""
        return self._device.lower()

    @property
    def framework(self) -> str:
        """OpenVINO."""
        return f"openvino {require_extra('openvino', 'openvino').get_version()}"

    def _run(self, images: Tensor) -> Tensor:
        found = self._model([np.ascontiguousarray(images.numpy())])[0]
        return torch.from_numpy(np.array(found))  # a copy: the runtime uses its buffer again


def read_model(core: Any, path: str | Path) -> Any:
    """An ov.Model. Raises ModelError where the file is absent or cannot be read."""
    for part in (Path(path), Path(path).with_suffix(".bin")):
        if not is_file(part) and (part == Path(path) or Path(path).suffix == ".xml"):
            raise ModelError(f"model {part} does not exist")
    try:
        return core.read_model(str(path))
    except (RuntimeError, ValueError) as error:  # also names that are not UTF-8
        raise ModelError(f"model {path} cannot be read by OpenVINO: {_reason(error)}") from error


def shared_core() -> Any:
    """The process's only `Core`. Raises UsageError for an absent package.

    A second one must not be made: the CPU plugin of each replaces the thread's signal stack, and
    puts the one before it back when it is freed, which may be gone by then. The next signal
    (Ctrl-C, a child that ends) would end the process with a segmentation fault.
    """
    require_extra("openvino", "openvino")
    return _core()


@cache
def _core() -> Any:
    return require_extra("openvino", "openvino").Core()


def write_model(vino: Any, model: Any, path: Path, info: ModelInfo) -> None:
    """Write .xml and .bin with the metadata in it."""
    for key, value in info.to_metadata().items():
        model.set_rt_info(value, [METADATA, key])
    vino.save_model(model, str(path), compress_to_fp16=False)


def read_info(path: str | Path) -> ModelInfo:
    """What an .xml file says about itself. Raises ModelError."""
    return ModelInfo.from_metadata(_metadata(read_model(shared_core(), path), path), path)


def _metadata(model: Any, path: str | Path) -> dict[str, str]:
    if Path(path).suffix == ".onnx":
        onnx = require_extra("onnx", "openvino")
        try:
            content = onnx.load(str(path), load_external_data=False)
        except Exception as error:
            reason = type(error).__name__
            raise ModelError(f"model {path} is not an ONNX file: {reason}") from error
        return {item.key: item.value for item in content.metadata_props}
    if not model.has_rt_info([METADATA]):
        return {}
    section = model.get_rt_info([METADATA]).value
    return {key: str(item) for key, item in section.items()}


def _reason(error: Exception) -> str:
    """The last line of OpenVINO's message, which is the one that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__

"""ONNX Runtime, on the CPU or through another execution provider (CUDA, TensorRT, ...)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yolox.backends.base import FileBackend, ModelInfo, first_line, require_extra
from yolox.defaults import PROVIDER
from yolox.errors import ModelError, UsageError
from yolox.files import is_file


class OnnxRuntimeBackend(FileBackend):
    """An ONNX file in ONNX Runtime.

    info: for files without our metadata; by default the file's own. provider: an execution
    provider's name; threads: within an operator, 0 for one per core.
    Raises ModelError for a file that is no detector, UsageError for an absent package or provider.
    """

    name = "onnxruntime"

    def __init__(
        self,
        path: str | Path,
        info: ModelInfo | None = None,
        *,
        threads: int = 0,
        provider: str = PROVIDER,
    ):
        self._session = open_session(path, threads, provider)
        self.info = info or ModelInfo.from_metadata(
            self._session.get_modelmeta().custom_metadata_map, path
        )
        self.precision = self.info.precision
        self._provider = provider
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelError(f"model {path} has {len(inputs)} inputs: it is not a detector")
        self._input = inputs[0].name

    @property
    def device(self) -> str:
        """The CPU, or the execution provider."""
        return "cpu" if self._provider == PROVIDER else self._provider

    @property
    def framework(self) -> str:
        """ONNX Runtime."""
        return f"onnxruntime {require_extra('onnxruntime', 'onnxruntime').__version__}"

    def _run(self, images: Tensor) -> Tensor:
        (output, *_) = self._session.run(None, {self._input: np.ascontiguousarray(images.numpy())})
        return torch.from_numpy(output)


def open_session(path: str | Path, threads: int = 0, provider: str = PROVIDER) -> Any:
    """A session that leaves the cores alone between two runs.

    Raises ModelError where the file is absent or not ONNX, UsageError for an absent provider.
    """
    if not is_file(path):
        raise ModelError(f"model {path} does not exist")
    try:
        return make_session(str(path), threads, provider)
    except UsageError:
        raise
    except Exception as error:
        reason = first_line(error)
        raise ModelError(f"model {path} cannot be opened by ONNX Runtime: {reason}") from error


def make_session(model: str | bytes, threads: int = 0, provider: str = PROVIDER) -> Any:
    """A session of a file's path or a graph's bytes. Raises UsageError for an absent provider."""
    runtime = require_extra("onnxruntime", "onnxruntime")
    known = runtime.get_available_providers()
    if provider not in known:
        raise UsageError(f"provider {provider!r} is not there: {', '.join(known)}")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    fall_back = [PROVIDER] if provider != PROVIDER else []
    session = runtime.InferenceSession(model, options, providers=[provider, *fall_back])
    if session.get_providers()[0] != provider:
        raise UsageError(f"provider {provider} did not start: are its libraries installed?")
    return session

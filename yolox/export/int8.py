"""A model as an INT8 file: quantised, to a floor of AP where there is one, and timed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from loguru import logger
from torch import Tensor, nn

from yolox.backends import Backend, ModelInfo
from yolox.defaults import FILE_BACKENDS
from yolox.eval.latency import latency_ms
from yolox.export.fallback import QuantReport, quantise_to_floor
from yolox.export.layer_damage import layer_damage
from yolox.export.nms_graph import DECODED
from yolox.export.onnx_graph import GraphSpec, save_onnx, to_onnx
from yolox.export.open import Runtime, open_file
from yolox.export.quantize import make_quantizer


class Fused(NamedTuple):
    """A module with batch norm folded in, and what it is."""

    model: nn.Module
    info: ModelInfo


@dataclass(frozen=True)
class Floor:
    """What a file must hold: AP at most `max_drop` below the float file's.

    measure: AP of a file opened in its runtime. chosen_on: the images of it, in words.
    """

    measure: Callable[[Backend], float]
    max_drop: float
    chosen_on: str


def quantise(
    source: Fused, graph: GraphSpec, images: Tensor, target: Path, floor: Floor | None
) -> dict[str, Any]:
    """Write an INT8 file; returns what was found of it, its time beside the float file's included.

    images: to calibrate with, [n, 3, H, W] uint8. target: .onnx, or .xml for OpenVINO's format.
    floor: None quantises every layer and measures no AP. Raises ExportError where the floor cannot
    be held, UsageError where a package is absent.
    """
    plain = _without_nms(graph)
    content, info = to_onnx(source.model, source.info, plain), plain.describe(source.info)
    floating = target.with_name(f".{target.stem}.float.onnx")
    try:
        save_onnx(content, floating)
        reference = open_file(floating, Runtime(FILE_BACKENDS[target.suffix][0]))
        quantizer = make_quantizer(target, content, info, images, graph.nms, graph.output_name)
        if floor is None:
            quantizer.write(target, ())
            report = QuantReport(layers=len(quantizer.layers.members))
        else:
            measure = floor.measure
            report = quantise_to_floor(
                quantizer,
                layer_damage(source.model, images, quantizer.layers.members),
                target,
                lambda path: measure(open_file(path, Runtime())),
                measure(reference),
                floor.max_drop,
            )
            report.chosen_on = floor.chosen_on
            for line in report.lines():
                logger.info(line)
        speed = _speed(reference, open_file(target, Runtime()), images[:1])
    finally:
        floating.unlink(missing_ok=True)
    stated = {"precision": "int8", "calibration_images": len(images)}
    return {**stated, "max_drop": floor and floor.max_drop, **report.as_json(), **speed}


def _without_nms(graph: GraphSpec) -> GraphSpec:
    """The decoded graph that a suppression can be appended to."""
    if graph.nms is None:
        return graph
    return replace(graph, nms=None, decode=True, output_name=DECODED)


def _speed(reference: Backend, quantised: Backend, image: Tensor) -> dict[str, Any]:
    """Latency of both in turns, at batch 1, and a word where INT8 does not pay."""
    found = latency_ms({"float": reference, "int8": quantised}, image)
    ratio = found["int8"] / found["float"]
    logger.info(
        "int8 {:.1f} ms, float {:.1f} ms on this machine: {} ({:.2f} of the float time)",
        found["int8"],
        found["float"],
        "faster" if ratio < 1 else "NOT faster",
        ratio,
    )
    return {"latency_ms": found, "latency_ratio": ratio}

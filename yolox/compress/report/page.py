"""`report.html`: the report as one page without anything outside of it."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from jinja2 import Environment, StrictUndefined

from yolox.backends import Backend
from yolox.compress.report.measure import ReportRow
from yolox.compress.report.table import fraction, number, table_cells, table_notes
from yolox.config import EvalSpec
from yolox.data.sample import UInt8
from yolox.errors import DataError
from yolox.eval.predict import ImageSource
from yolox.files import write_text
from yolox.predictor import Predictor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("report.html.j2")
PICTURES = 6
PICTURE_CONF = 0.3  # boxes that are drawn
PICTURE_WIDTH = 640  # pixels


@dataclass(frozen=True)
class Bar:
    """One bar: how much of a layer or a group is left."""

    name: str
    kept: int
    size: int

    @property
    def percent(self) -> str:
        """Its length."""
        return f"{100 * self.kept / self.size:.1f}"

    @property
    def label(self) -> str:
        """What stands beside it."""
        return f"{self.kept} of {self.size}"


@dataclass(frozen=True)
class Picture:
    """A JPEG or PNG in base64 and what is said of it."""

    data: str
    caption: str


def write_page(
    path: Path,
    report: Sequence[ReportRow],
    content: Mapping[str, Any],
    bars: Sequence[Bar],
    pairs: Sequence[Sequence[Picture]],
) -> None:
    """Write the page of a report whose JSON is `content`."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    first, last = report[0], report[-1]
    head, rows = table_cells(report)
    facts = {
        key: value
        for key, value in content.items()
        if key not in ("stages", "runs", "chosen_on", "words")
    }
    what = "Channels" if content["recipe"]["prune"] else "Weights"
    page = template.render(
        title=f"{content['exp']['name']}, compressed",
        subtitle=f"{content['checkpoint']['path']} at {_size(content)}",
        words=content["words"],
        tiles=_tiles(first, last),
        figures=_figures(report),
        stage_head=head,
        stage_rows=rows,
        notes=table_notes(report, content["chosen_on"]),
        latency_rows=_latency_rows(first, last),
        first=first.name,
        last=last.name,
        bars=bars,
        bars_title=f"{what} kept",
        pairs=pairs,
        run_rows=[
            (name, f"{run['seconds']:.1f}", f"{run['peak_mb_so_far']:.0f}")
            for name, run in content["runs"].items()
            if "seconds" in run
        ],
        facts=json.dumps(facts, indent=2),
    )
    write_text(path, page)


def picture_pairs(
    source: ImageSource, before: Backend, after: Backend, size_hw: tuple[int, int]
) -> list[list[Picture]]:
    """Some images of a set, each with the boxes of both models. Images that cannot be read are
    left out.
    """
    spec = EvalSpec(conf=PICTURE_CONF)
    models = {"before": Predictor(before, size_hw, spec), "after": Predictor(after, size_hw, spec)}
    pairs = []
    for index in np.linspace(0, len(source) - 1, min(PICTURES, len(source))).astype(int).tolist():
        try:
            image = source.read_image(index)
        except DataError:
            continue
        sides = []
        for name, predictor in models.items():
            found = predictor(image)
            caption = f"{name}: {len(found)} boxes over {PICTURE_CONF:g}"
            sides.append(Picture(_jpeg(found.draw()), caption))
        pairs.append(sides)
    return pairs


def _figures(report: Sequence[ReportRow]) -> list[Picture]:
    """Those that there is something to draw for."""
    from yolox.compress.report.figures import (  # noqa: PLC0415 - matplotlib is slow
        classes_figure,
        stages_figure,
        tradeoff_figure,
    )

    drawn = {
        "Accuracy by stage": stages_figure(report),
        "What it costs": tradeoff_figure(report),
        "Which classes pay": classes_figure(report),
    }
    return [Picture(_png(figure), name) for name, figure in drawn.items() if figure is not None]


def _png(figure: "Figure") -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return base64.b64encode(data.getvalue()).decode()


def _jpeg(image: UInt8) -> str:
    scale = min(PICTURE_WIDTH / image.shape[1], 1.0)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return base64.b64encode(data.tobytes()).decode()


def _tiles(first: ReportRow, last: ReportRow) -> list[dict[str, str]]:
    tiles = []
    if last.AP is not None:
        tiles.append(("AP", fraction(last.AP), f"from {fraction(first.AP)}"))
    tiles += [
        _share("parameters", last.params, first.params, 1e6, "M"),
        _share("not zero", last.nonzero_params, first.nonzero_params, 1e6, "M"),
        _share("MACs", last.macs, first.macs, 1e9, "G"),
        _share("file", last.file_bytes, first.file_bytes, 1e6, "MB"),
    ]
    for backend, ms in first.latency_ms.items():
        if backend in last.latency_ms:
            tiles.append(_share(f"{backend}, batch 1", last.latency_ms[backend], ms, 1.0, "ms"))
    return [dict(zip(("name", "value", "note"), tile, strict=True)) for tile in tiles]


def _share(
    name: str, after: float, before: float, unit: float, symbol: str
) -> tuple[str, str, str]:
    note = f"{after / unit:.2f} of {before / unit:.2f} {symbol}"
    return name, f"{after / before:.0%}", note


def _latency_rows(first: ReportRow, last: ReportRow) -> list[tuple[str, ...]]:
    """Of every backend and batch size: both models' times, their ratio, memory at batch 1."""
    rows: list[tuple[str, ...]] = []
    for batch, key in ((1, "latency_ms"), (8, "latency_ms_batch8")):
        before, after = getattr(first, key), getattr(last, key)
        for backend in dict.fromkeys([*before, *after]):
            both = backend in before and backend in after
            times = [number(side.get(backend), 1) for side in (before, after)]
            ratio = number(after[backend] / before[backend] if both else None, 2)
            peaks = [s.peak_mb.get(backend) if batch == 1 else None for s in (first, last)]
            rows.append((backend, str(batch), *times, ratio, *(number(mb, 0) for mb in peaks)))
    return rows


def _size(content: Mapping[str, Any]) -> str:
    height, width = content["exp"]["options"]["test_size"]
    return f"{height} x {width}"

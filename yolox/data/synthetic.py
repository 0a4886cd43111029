"""A small synthetic detection data set: eight kinds of shapes on textured backgrounds.

The class is the shape or the texture; sizes, angles and backgrounds are random. Each class has a
hue of its own that overlaps with its neighbours', so that a short training gets somewhere. Image
`i` of a split depends on the specification, the split and `i` only, so that two runs give the
same bytes. Written as COCO JSON and JPEG files, in COCO's folders.
"""

import json
import math
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from yolox.data.sample import Float32, UInt8
from yolox.errors import DataError

#: Class name -> COCO category id. The ids have gaps, as COCO's own have.
_CLASSES = ("disc", "ring", "square", "triangle", "cross", "star", "stripes", "checker")
CATEGORIES = dict(zip(_CLASSES, (1, 2, 4, 7, 8, 13, 21, 34), strict=True))
SPLITS = ("train", "val")
SIDES = (14.0, 200.0)  # pixels: an object's size is log-uniform in between, P3 to P6
LARGEST_SHARE = 0.78  # of the image's shorter side
MIN_VISIBLE = 0.4  # share of its full area that an annotated object shows
MAX_OVERLAP = 0.6  # of the smaller of two objects' boxes
ASPECTS_WH = ((1.0, 1.0), (1.0, 1.0), (1.0, 0.75), (0.75, 1.0))
JPEG_QUALITY = 92
JSON_FILE = "annotations/instances_{}2017.json"
MARKER = "synthetic.json"
HUE_SPREAD = 30.0  # degrees to both sides of a class's hue; classes are 45 degrees apart
VERSION = 2  # counts up when the same specification gives other images
_ENTRIES = {MARKER, "annotations", *(f"{split}2017" for split in SPLITS)}

Points = npt.NDArray[np.float64]
Annotation = dict[str, Any]


@dataclass(frozen=True)
class SyntheticSpec:
    """What a data set holds."""

    train_images: int = 600
    val_images: int = 150
    size: int = 256  # longer side of every image in pixels
    seed: int = 0
    max_objects: int = 6  # an image that is not empty gets 1 to this many
    classes: int = len(_CLASSES)  # the first so many of the shapes
    empty_share: float = 0.05  # images without any object, spread evenly over each split

    def __post_init__(self) -> None:
        least = {"train_images": 1, "val_images": 1, "size": 64, "seed": 0, "max_objects": 1}
        for key, smallest in least.items():
            if getattr(self, key) < smallest:
                raise ValueError(f"{key} {getattr(self, key)} is less than {smallest}")
        if not 0.0 <= self.empty_share < 1.0:
            raise ValueError(f"empty_share {self.empty_share} is not in [0, 1)")

        if not 1 <= self.classes <= len(_CLASSES):
            raise ValueError(f"classes {self.classes} is not between 1 and {len(_CLASSES)}")

    @property
    def categories(self) -> dict[str, int]:
        """The ids of the classes that there are."""
        return {name: CATEGORIES[name] for name in _CLASSES[: self.classes]}

    def images(self, split: str) -> int:
        """Number of images of a split, 'train' or 'val'."""
        return {"train": self.train_images, "val": self.val_images}[split]


@dataclass(frozen=True)
class _Shape:
    """One object before it is drawn: class name, centre and radius in pixels, and its pose.

    stretch: [2], factors along its own axes. rotation: [2, 2], from its axes to the image's.
    """

    name: str
    centre: Points
    radius: float
    stretch: Points
    rotation: Points

    def contours(self) -> list[Points]:
        """Closed outlines in pixels, [K, 2] each; a second one is a hole."""
        scale = self.radius * self.stretch
        return [(unit * scale) @ self.rotation.T + self.centre for unit in _unit_outline(self.name)]


def make_dataset(out_dir: Path, spec: SyntheticSpec) -> None:
    """Write the data set to `out_dir`, whole or not at all.

    A complete set of the same specification is left as it is, another one of this generator's is
    replaced. Raises DataError where `out_dir` holds anything else.
    """
    out_dir = out_dir.resolve()
    if _is_complete(out_dir, spec):
        return
    _require_ours(out_dir)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    work = out_dir.parent / f".{out_dir.name}.{os.getpid()}.tmp"
    shutil.rmtree(work, ignore_errors=True)
    try:
        for split in SPLITS:
            _write_split(work, spec, split)
        (work / MARKER).write_text(json.dumps(_identity(spec), indent=2) + "\n", encoding="utf-8")
        if _is_complete(out_dir, spec):
            return  # another process was quicker
        if out_dir.exists():
            shutil.rmtree(out_dir)
        work.rename(out_dir)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def draw_image(spec: SyntheticSpec, split: str, index: int) -> tuple[UInt8, list[Annotation]]:
    """Image `index` of a split, [H, W, 3] uint8 BGR, with its COCO annotations.

    An annotation holds `category_id`, `bbox` (x, y, width, height: the tight box of what is
    visible, in pixels), `area` (visible pixels) and `iscrowd`.
    """
    rng = np.random.default_rng([spec.seed, SPLITS.index(split), index])
    width, height = (round(spec.size * side) for side in rng.choice(ASPECTS_WH))
    canvas = _background(width, height, rng)
    is_empty = int((index + 1) * spec.empty_share) > int(index * spec.empty_share)
    shapes = [] if is_empty else _place(width, height, spec, rng)
    owner = np.full((height, width), -1, np.int64)
    for number, shape in enumerate(shapes):
        mask = _mask(shape, width, height)
        _paint(canvas, shape, mask, rng)
        owner[mask >= 0.5] = number
    canvas = (canvas - 128) * rng.uniform(0.85, 1.15) + rng.uniform(116, 140)
    canvas += rng.normal(0, rng.uniform(1, 7), canvas.shape)
    image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    return image, [a for n, shape in enumerate(shapes) for a in _annotate(shape, owner == n)]


def _unit_outline(name: str) -> list[Points]:
    """Outlines inside a circle of radius about 1, [K, 2] each."""

    def polygon(corners: int, radius: float | Points = 1.0) -> npt.NDArray[np.complex128]:
        return np.asarray(radius * np.exp(2j * np.pi * np.arange(corners) / corners))

    arm = np.array([1 - 0.3j, 1 + 0.3j, 0.3 + 0.3j])
    square = [polygon(4, 1.2) * np.exp(0.25j * np.pi)]  # of both textures too
    outlines = {
        "disc": [polygon(64)],
        "ring": [polygon(64), polygon(64, 0.55)],
        "triangle": [polygon(3, 1.1)],
        "cross": [np.concatenate([arm * 1j**quarter for quarter in range(4)])],
        "star": [polygon(10, np.where(np.arange(10) % 2, 0.45, 1.1))],
    }
    return [np.stack([c.real, c.imag], axis=1) for c in outlines.get(name, square)]


def _place(width: int, height: int, spec: SyntheticSpec, rng: np.random.Generator) -> list[_Shape]:
    """Shapes in drawing order: later ones cover earlier ones, but never most of one."""
    shapes: list[_Shape] = []
    largest = min(SIDES[1], LARGEST_SHARE * min(width, height))
    for _ in range(rng.integers(1, spec.max_objects + 1)):
        name = list(spec.categories)[rng.integers(spec.classes)]
        radius = float(np.exp(rng.uniform(np.log(SIDES[0]), np.log(largest)))) / 2
        stretch = np.exp(rng.uniform(-0.15, 0.15) * np.array([1.0, -1.0]))
        angle = rng.uniform(0, 2 * np.pi)
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        for _ in range(12):
            centre = rng.uniform(0.8 * radius, np.array([width, height]) - 0.8 * radius)
            shape = _Shape(name, centre, radius, stretch, rotation)
            if all(_overlap(shape, other) <= MAX_OVERLAP for other in shapes):
                shapes.append(shape)
                break
    return shapes


def _overlap(one: _Shape, other: _Shape) -> float:
    """Common area of the squares around two shapes over the smaller one's area."""
    reach = one.radius + other.radius - np.abs(one.centre - other.centre)
    smaller = 2 * min(one.radius, other.radius)
    return float(np.prod(np.clip(reach, 0, smaller)) / smaller**2)


def _mask(shape: _Shape, width: int, height: int) -> Float32:
    """Coverage of each pixel by the shape: [H, W], 0 to 1, with smooth edges."""
    mask = np.zeros((height, width), np.uint8)
    fixed_point = [np.rint(points * 16).astype(np.int32) for points in shape.contours()]
    cv2.fillPoly(mask, fixed_point, (255,), cv2.LINE_AA, shift=4)
    return np.divide(mask, 255, dtype=np.float32)


def _background(width: int, height: int, rng: np.random.Generator) -> Float32:
    """A gradient of two muted colours, soft noise, blobs and thin lines: [H, W, 3] float32."""
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width]
    ramp = (x / width - 0.5) * np.cos(turn) + (y / height - 0.5) * np.sin(turn) + 0.5
    first = rng.uniform(50, 205) + rng.uniform(-18, 18, 3)
    second = np.clip(first + rng.uniform(-60, 60) + rng.uniform(-18, 18, 3), 40, 215)
    canvas: Float32 = (first + np.clip(ramp, 0, 1)[..., None] * (second - first)).astype(np.float32)
    coarse = rng.normal(0, rng.uniform(4, 12), (height // 16, width // 16, 3))
    canvas += cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    blobs, lines = np.zeros_like(canvas), np.zeros_like(canvas)
    for _ in range(rng.integers(0, 5)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        radius = int(rng.integers(width // 24, width // 6))
        cv2.circle(blobs, centre, radius, rng.uniform(-28, 28, 3).tolist(), -1)
    for _ in range(rng.integers(0, 6)):
        ends = rng.uniform([0, 0], [width, height], (2, 2)).astype(np.int32).tolist()
        colour, thickness = rng.uniform(-35, 35, 3).tolist(), int(rng.integers(1, 3))
        cv2.line(lines, ends[0], ends[1], colour, thickness, cv2.LINE_AA)
    canvas += cv2.GaussianBlur(blobs, (0, 0), width / 64) + lines
    return canvas


def _paint(canvas: Float32, shape: _Shape, mask: Float32, rng: np.random.Generator) -> None:
    """Blend the shape into the canvas, in colours that stand out from what is there."""
    x1, y1 = np.maximum(shape.centre - 1.4 * shape.radius, 0).astype(int)
    x2, y2 = np.ceil(shape.centre + 1.4 * shape.radius).astype(int)
    window = canvas[y1:y2, x1:x2]
    around = window.reshape(-1, 3)[:: max(1, window.size // 768)]
    first = _contrasting(around, shape.name, rng)
    y, x = np.mgrid[y1 : y1 + window.shape[0], x1 : x1 + window.shape[1]]
    u, v = ((np.stack([x, y], axis=-1) - shape.centre) @ shape.rotation).transpose(2, 0, 1)
    if shape.name in ("stripes", "checker"):
        known = np.concatenate([around, np.tile(first, (len(around), 1))])
        second = _contrasting(known, shape.name, rng)
        period = max(0.45 * shape.radius, 3.5)
        wave = np.sin(np.pi * u / period)
        if shape.name == "checker":
            wave = wave * np.sin(np.pi * v / period)
        share = np.clip(0.5 + wave * period / np.pi, 0, 1)[..., None]  # edges one pixel wide
        colour = first + share * (second - first)
    else:
        colour = first * (1 + rng.uniform(-0.12, 0.12) * u / shape.radius)[..., None]
    window += mask[y1:y2, x1:x2, None] * (colour - window)


def _contrasting(pixels: Float32, name: str, rng: np.random.Generator) -> Points:
    """A colour [3] of a class, far (in BGR) from nearly all pixels [N, 3]; else the farthest."""
    hue = 360 * _CLASSES.index(name) / len(_CLASSES) + rng.uniform(-HUE_SPREAD, HUE_SPREAD, 24)
    hsv = np.stack([hue % 360, rng.uniform(0.5, 1, 24), rng.uniform(0.25, 1, 24)], axis=-1)
    candidates = cv2.cvtColor(hsv[None].astype(np.float32), cv2.COLOR_HSV2BGR)[0] * 255
    far = np.quantile(np.linalg.norm(candidates[:, None] - pixels, axis=2), 0.1, axis=1)
    enough = np.flatnonzero(far >= 90)
    return np.asarray(candidates[enough[0] if len(enough) else far.argmax()])


def _annotate(shape: _Shape, visible: npt.NDArray[np.bool_]) -> list[Annotation]:
    """The annotation of an object by its visible pixels [H, W], or none where too few are left."""
    side, area = math.ceil(3 * shape.radius), int(np.count_nonzero(visible))
    whole = _mask(replace(shape, centre=np.full(2, side / 2)), side, side) >= 0.5
    if area < MIN_VISIBLE * np.count_nonzero(whole):
        return []
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    box = [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]
    return [{"category_id": CATEGORIES[shape.name], "bbox": box, "area": area, "iscrowd": 0}]


def _write_split(folder: Path, spec: SyntheticSpec, split: str) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[Annotation] = []
    image_dir = folder / f"{split}2017"
    image_dir.mkdir(parents=True)
    for index in range(spec.images(split)):
        image, found = draw_image(spec, split, index)
        name = f"{index + 1:012d}.jpg"
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        (image_dir / name).write_bytes(data.tobytes())
        height, width = image.shape[:2]
        images.append({"id": index + 1, "file_name": name, "width": width, "height": height})
        for annotation in found:
            annotations.append({"id": len(annotations) + 1, "image_id": index + 1, **annotation})
    classes = [{"id": number, "name": name} for name, number in spec.categories.items()]
    content = {"images": images, "annotations": annotations, "categories": classes}
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / JSON_FILE.format(split)).write_text(json.dumps(content))


def _identity(spec: SyntheticSpec) -> dict[str, Any]:
    return {"generator": __name__, "version": VERSION, "spec": asdict(spec)}


def _stored_identity(folder: Path) -> dict[str, Any]:
    """What the folder's marker file says; empty where there is none."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_complete(folder: Path, spec: SyntheticSpec) -> bool:
    return _stored_identity(folder) == _identity(spec) and all(
        (folder / JSON_FILE.format(split)).is_file()
        and len(list((folder / f"{split}2017").glob("*.jpg"))) == spec.images(split)
        for split in SPLITS
    )


def _require_ours(folder: Path) -> None:
    """Raise DataError unless the folder is absent, empty, or a set of this generator alone."""
    if folder.is_file():
        raise DataError(f"{folder} is a file, not a folder for a data set")
    entries = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if entries and _stored_identity(folder).get("generator") != __name__:
        raise DataError(f"folder {folder} holds something else: it has no {MARKER} of ours")
    if foreign := sorted(entries - _ENTRIES):
        raise DataError(f"folder {folder} also holds {foreign[0]}; move it away to write a new set")

"""Damaged annotation files of every format: an error that names the file, or a data set."""

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.settings import EXAMPLES
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import AnnotatedImage, AnnotatedObject, AnnotatedSet
from yolox.data.formats.table import FORMATS
from yolox.errors import DataError

CVAT = (
    '<?xml version="1.0"?><annotations><meta><task><labels><label><name>cat</name></label>'
    '</labels></task></meta><image id="0" name="000.jpg" width="64" height="48">'
    '<box label="cat" xtl="1" ytl="2" xbr="31" ybr="22"/></image></annotations>'
)
CSV = "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\n000.jpg,cat,0.1,0.5,0.2,0.6,0\n"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """By format: the file or folder to read, and the file to damage."""
    root = tmp_path_factory.mktemp("formats")
    picture = root / "images" / "000.jpg"
    picture.parent.mkdir()
    cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
    objects = (AnnotatedObject(0, (1.0, 2.0, 31.0, 22.0), difficult=True),)
    found = AnnotatedSet(("cat",), (AnnotatedImage(picture, 64, 48, objects),))
    for name, one in FORMATS.items():
        if one.write is not None:
            (root / name).mkdir()
            one.write(found, root / name, "x")
    (root / "a.xml").write_text(CVAT)
    (root / "a.csv").write_text(CSV)
    places = {
        "coco": (root / "coco/annotations/instances_x.json",) * 2,
        "voc": (root / "voc", root / "voc/Annotations/000.xml"),
        "voc list": (root / "voc/ImageSets/Main/x.txt",) * 2,
        "yolo": (Path(f"{root}/yolo/data.yaml#x"), root / "yolo/labels/x/000.txt"),
        "yolo yaml": (Path(f"{root}/yolo/data.yaml#x"), root / "yolo/data.yaml"),
        "labelme": (root / "labelme", root / "labelme/000.json"),
        "road-json": (root / "road-json", root / "road-json/000.json"),
        "tfrecord": (root / "tfrecord/x.tfrecord",) * 2,
        "tfrecord map": (root / "tfrecord/x.tfrecord", root / "tfrecord/label_map.pbtxt"),
        "cvat": (root / "a.xml",) * 2,
        "openimages": (root / "a.csv",) * 2,
    }
    return places, Pictures(picture.parent)


NAMES = (
    "coco",
    "voc",
    "voc list",
    "yolo",
    "yolo yaml",
    "labelme",
    "road-json",
    "tfrecord",
    "tfrecord map",
    "cvat",
    "openimages",
)
PIECES = [b"", b"\x00", b"\xff", b"null", b"[]", b"{}", b"1e999", b"nan", b"-1", b'"', b"<", b"&x;"]
PIECES += [b"\n", b"0" * 400, b"[" * 2000, b"\\", b",", b"true", b"../../x", b"*a", b"&a 1", b": "]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=EXAMPLES // 2)
@given(data=st.data())
def test_damaged_annotations(sources, name, data):
    places, pictures = sources
    source, file = places[name]
    whole = file.read_bytes()
    start = data.draw(st.integers(0, len(whole)), label="start")
    stop = data.draw(st.integers(start, min(start + 30, len(whole))), label="stop")
    damaged = whole[:start] + data.draw(st.sampled_from(PIECES), label="piece") + whole[stop:]
    file.write_bytes(damaged)
    try:
        with suppress(DataError):
            FORMATS[name.split(" ")[0]].read(source, pictures, None)
    finally:
        file.write_bytes(whole)

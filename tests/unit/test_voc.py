"""VOC to COCO, on a small tree of its own."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fuzz.voc import bomb
from tests.voc import voc_objects, voc_to_coco
from yolox.data.dataset import DetectionDataset
from yolox.data.image import header_size, read_image
from yolox.errors import DataError
from yolox.files import write_json

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox>
</object>"""
CAT = {"name": "cat", "difficult": 0, "box": (10, 20, 30, 60)}
DOG = {"name": "dog", "difficult": 1, "box": (1, 1, 5.5, 9)}


class VocTree:
    """A VOC folder that is filled image by image; all images are 100 x 80."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("ImageSets/Main", "Annotations", "JPEGImages"):
            (folder / name).mkdir(parents=True)

    def add(self, stem: str, *objects: dict, split: str = "train", suffix: str = ".jpg") -> Path:
        """Add an image with its objects to a split; give its XML file."""
        Image.new("RGB", (100, 80)).save(self.folder / "JPEGImages" / f"{stem}{suffix}")
        with (self.folder / "ImageSets" / "Main" / f"{split}.txt").open("a") as file:
            file.write(f"{stem}\n")
        xml = self.folder / "Annotations" / f"{stem}.xml"
        # the stated size is wrong on purpose: the image's own header is what counts
        size = "<size><width>8</width><height>8</height></size>"
        objects_xml = "".join(OBJECT.format(**values) for values in objects)
        xml.write_text(f"<annotation>{size}{objects_xml}</annotation>")
        return xml


@pytest.fixture
def voc(tmp_path: Path) -> VocTree:
    return VocTree(tmp_path / "voc")


def test_boxes_ids_and_sizes(voc: VocTree) -> None:
    voc.add("a", DOG, CAT)
    voc.add("b", CAT, suffix=".png")
    voc.add("c")
    content, problems = voc_to_coco(voc.folder, "train", None)
    assert problems == []
    assert content["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert [(i["id"], i["file_name"], i["width"], i["height"]) for i in content["images"]] == [
        (1, "a.jpg", 100, 80),
        (2, "b.png", 100, 80),
        (3, "c.jpg", 100, 80),
    ]
    rows = [(a["id"], a["image_id"], a["category_id"], a["bbox"]) for a in content["annotations"]]
    assert rows == [
        (1, 1, 2, [1, 1, 4.5, 8]),
        (2, 1, 1, [10, 20, 20, 40]),
        (3, 2, 1, [10, 20, 20, 40]),
    ]
    assert [a["area"] for a in content["annotations"]] == [36.0, 800.0, 800.0]
    assert [a["difficult"] for a in content["annotations"]] == [1, 0, 0]


def test_difficult_objects_can_be_left_out(voc: VocTree) -> None:
    voc.add("a", DOG, CAT)
    content, _ = voc_to_coco(voc.folder, "train", ["cat", "dog"], keep_difficult=False)
    assert [(a["id"], a["category_id"]) for a in content["annotations"]] == [(1, 1)]
    assert voc_objects(voc.folder, "train") == {"cat": 1, "dog": 1}


def test_given_class_order_is_kept(voc: VocTree) -> None:
    voc.add("a", CAT)
    content, _ = voc_to_coco(voc.folder, "train", ["dog", "cat"])
    assert content["annotations"][0]["category_id"] == 2


@pytest.mark.parametrize("name", ["Cat", "cats"])
def test_unknown_class_names_file_and_nearest(voc: VocTree, name: str) -> None:
    voc.add("a", {**CAT, "name": name})
    with pytest.raises(DataError, match=rf"a\.xml: object 1: unknown class '{name}'.* 'cat'"):
        voc_to_coco(voc.folder, "train", ["dog", "cat"])


@pytest.mark.parametrize(
    ("box", "kind", "kept"),
    [
        ((10, 10, 10, 40), "zero_size", 0),
        ((10, 10, 5, 40), "zero_size", 0),
        ((200, 10, 240, 40), "outside_image", 1),
        ((90, 10, 101, 40), "partly_outside", 1),
        ((-1, 0, 50, 80), "partly_outside", 1),
    ],
)
def test_bad_boxes_are_reported(voc: VocTree, box: tuple, kind: str, kept: int) -> None:
    voc.add("a", CAT, {**CAT, "box": box})
    content, problems = voc_to_coco(voc.folder, "train", None)
    assert [(p.kind, p.annotation_id, p.file_name) for p in problems] == [
        (kind, "object 2", "a.xml")
    ]
    assert len(content["annotations"]) == 1 + kept


def test_box_that_touches_the_border_is_fine(voc: VocTree) -> None:
    voc.add("a", {**CAT, "box": (0, 0, 100, 80)})
    assert voc_to_coco(voc.folder, "train", None)[1] == []


def test_missing_and_broken_files_are_named(voc: VocTree) -> None:
    xml = voc.add("a", CAT)
    whole = xml.read_text()
    for text, message in (
        (whole[: len(whole) // 2], r"a\.xml: not valid XML"),
        (whole.replace("<xmax>30</xmax>", ""), r"a\.xml: object 1: bndbox"),
        (whole.replace("30", "nan"), r"a\.xml: object 1: bndbox: .*'nan'"),
        (whole.replace("cat", " "), r"a\.xml: object 1: '' at"),
    ):
        xml.write_text(text)
        with pytest.raises(DataError, match=message):
            voc_to_coco(voc.folder, "train", None)
    xml.unlink()
    with pytest.raises(DataError, match=r"a\.xml: No such file"):
        voc_to_coco(voc.folder, "train", None)


def test_missing_or_broken_image_is_named(voc: VocTree) -> None:
    voc.add("a", CAT)
    image = voc.folder / "JPEGImages" / "a.jpg"
    image.write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"a\.jpg: not a readable image"):
        voc_to_coco(voc.folder, "train", None)
    image.unlink()
    with pytest.raises(DataError, match=r"a\.xml: no image .a. in .*JPEGImages"):
        voc_to_coco(voc.folder, "train", None)


def test_bad_splits(voc: VocTree) -> None:
    voc.add("a", CAT)
    with pytest.raises(DataError, match=r"test\.txt does not exist; splits there: train"):
        voc_to_coco(voc.folder, "test", None)
    voc.add("a", CAT)
    with pytest.raises(DataError, match="image a stands twice"):
        voc_to_coco(voc.folder, "train", None)
    (voc.folder / "ImageSets" / "Main" / "train.txt").write_text("\n \n")
    with pytest.raises(DataError, match="lists no image"):
        voc_to_coco(voc.folder, "train", None)


def test_class_given_twice(voc: VocTree) -> None:
    voc.add("a", CAT)
    with pytest.raises(DataError, match="stands twice"):
        voc_to_coco(voc.folder, "train", ["cat", "cat"])


def test_header_size_follows_exif_as_the_reader_does(tmp_path: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.jpg"
        Image.new("RGB", (40, 20)).save(path, exif=exif)
        expected = (40, 20) if orientation <= 4 else (20, 40)
        assert header_size(path) == expected
        assert read_image(path).shape[1::-1] == expected


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize(
    "broken", [b"no header at all", b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12"]
)
def test_header_size_with_a_broken_exif_block(tmp_path: Path, suffix: str, broken: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (40, 20)).save(path, exif=b"Exif\x00\x00" + broken)
    assert header_size(path) == (40, 20)


def test_write_json_is_whole_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == '{"a": 1}'
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.samples
def test_bccd(samples_dir: Path, tmp_path: Path) -> None:
    voc_dir = samples_dir / "bccd"
    dropped = []
    for split, images, boxes in (("train", 205, 2804), ("val", 87, 1137)):
        content, problems = voc_to_coco(voc_dir, split, ["Platelets", "RBC", "WBC"])
        assert (len(content["images"]), len(content["annotations"])) == (images, boxes)
        dropped += [problem for problem in problems if problem.kind == "zero_size"]
        write_json(tmp_path / "annotations" / f"{split}.json", content)
        (tmp_path / split).symlink_to(voc_dir / "JPEGImages")
        dataset = DetectionDataset(tmp_path, f"{split}.json", split)
        assert sum(len(dataset.targets(index)[1]) for index in range(images)) == boxes
        np.testing.assert_array_equal(dataset.category_ids, [1, 2, 3])
    assert len(dropped) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bomb(), "defines a document type or entities"),
        ('<?xml version="1.0" encoding="nothing"?><annotation/>', "not valid XML"),
        ('<?xml version="1.0" encoding="utf-7"?><annotation/>', "not valid XML"),
        (
            OBJECT.format(name="cat", difficult=0, box=(1, 1, "1e9", 9)),
            "object 1: 'cat' at .*1000000000.0",
        ),
        (OBJECT.format(name="", difficult=0, box=(1, 1, 2, 9)), "object 1: '' at"),
    ],
)
def test_xml_that_cannot_be_used(voc: VocTree, content: str, said: str) -> None:
    voc.add("a").write_text(content)
    with pytest.raises(DataError, match=rf"a\.xml: {said}"):
        voc_to_coco(voc.folder, "train", None)


def test_pipes_are_not_waited_for(voc: VocTree) -> None:
    xml = voc.add("a")
    xml.unlink()
    os.mkfifo(xml)
    with pytest.raises(DataError, match=r"a\.xml: it is no regular file"):
        voc_objects(voc.folder, "train")


@pytest.mark.parametrize("stem", ["../secret", "/etc/passwd", "..\\x"])
def test_names_in_a_list_are_no_paths(voc: VocTree, stem: str) -> None:
    voc.add("a")
    (voc.folder / "secret.xml").write_text("<annotation/>")
    with (voc.folder / "ImageSets/Main/train.txt").open("a") as file:
        file.write(f"{stem}\n")
    with pytest.raises(DataError, match=r"train\.txt: .* is no name of an image"):
        voc_objects(voc.folder, "train")


def test_a_list_that_is_no_text(voc: VocTree) -> None:
    voc.add("a")
    (voc.folder / "ImageSets/Main/train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"train\.txt: not UTF-8"):
        voc_objects(voc.folder, "train")


def test_links_to_images_outside_are_refused(voc: VocTree, tmp_path: Path) -> None:
    voc.add("a")
    image = voc.folder / "JPEGImages" / "a.jpg"
    image.rename(tmp_path / "a.jpg")
    image.symlink_to(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg is a link to a file outside .*allow-outside"):
        voc_to_coco(voc.folder, "train", None)
    content, _ = voc_to_coco(voc.folder, "train", None, allow_outside=True)
    assert len(content["images"]) == 1

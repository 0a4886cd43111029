"""Annotation formats: read alike, written so that others read them, refused where they are bad."""

import json
import shutil
import struct
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipeline.runs import error_line
from yolox.cli.common import run
from yolox.cli.convert import main as convert_main
from yolox.data.dataset import DetectionDataset
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import AnnotatedImage, AnnotatedObject, AnnotatedSet
from yolox.data.formats.table import FORMATS
from yolox.data.formats.tf_records import make_example, parse_example, records, write_records
from yolox.errors import DataError

WRITABLE = [name for name, one in FORMATS.items() if one.write is not None]
SIZE_WH = (64, 48)
NAMES = ("cat", "dog", "a b")
SAMPLES = {  # of voc100: format, and where below gts
    "voc": ("voc", "pascalvoc_format"),
    "imagenet": ("voc", "imagenet_format"),
    "yolo": ("yolo", "yolo_format/obj.data"),
    "labelme": ("labelme", "labelme_format"),
    "tfrecord": ("tfrecord", "tfrecord_format/default.tfrecord"),
    "cvat": ("cvat", "cvat_format/annotations.xml"),
    "openimages": ("openimages", "openimages_format/all_bounding_boxes.csv"),
    "coco 1": ("coco", "coco_format_v1/instances_default.json"),
    "coco 2": ("coco", "coco_format_v2/instances_v2.json"),
}
ROUNDED = {"yolo": 4e-4, "tfrecord": 5e-5, "openimages": 1e-6}  # pixels: shares with few digits


def boxes_by_image(found):
    """(class, corners) of every image, in an order that is the same for all formats."""
    return {
        image.path.name: sorted(
            (found.class_names[item.label], *(round(c, 2) for c in item.corners), item.corners)
            for item in image.objects
        )
        for image in found.images
    }


@pytest.mark.samples
def test_nine_files_are_one_data_set(samples_dir):
    root = samples_dir / "voc100"
    pictures = Pictures(root / "images")
    sets = {
        name: FORMATS[kind].read(root / "gts" / place, pictures, None)
        for name, (kind, place) in SAMPLES.items()
    }
    expected = boxes_by_image(sets["voc"])
    assert sum(map(len, expected.values())) == 273
    for name, found in sets.items():
        assert found.counts() == sets["voc"].counts(), name
        own = boxes_by_image(found)
        assert own.keys() == expected.keys(), name
        for image, items in own.items():
            for one, other in zip(items, expected[image], strict=True):
                assert one[0] == other[0], (name, image)
                difference = np.abs(np.array(one[-1]) - other[-1]).max()
                assert difference <= ROUNDED.get(name, 0.0) + 1e-9, (name, image, difference)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(3):
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), np.full((*SIZE_WH[::-1], 3), 9, np.uint8))
    return folder


def a_set(images, *objects):
    """Objects on the first image, none on the second."""
    first, second, _ = sorted(images.iterdir())
    return AnnotatedSet(
        NAMES,
        (AnnotatedImage(first, *SIZE_WH, tuple(objects)), AnnotatedImage(second, *SIZE_WH, ())),
    )


def written(found, kind, out, name="train2017"):
    """What a format's own reader finds in what its writer wrote."""
    FORMATS[kind].write(found, out, name)
    source = FORMATS[kind].source(out, name)
    return FORMATS[kind].read(source, Pictures(found.images[0].path.parent), NAMES)


def an_object():
    numbers = st.integers(0, 600)

    def make(label, x, y, width, height, difficult, crowd):
        scale = [SIZE_WH[0] / 1300, SIZE_WH[1] / 1300] * 2
        corners = [x, y, x + width, y + height]
        return AnnotatedObject(
            label, tuple(c * s for c, s in zip(corners, scale, strict=True)), difficult, crowd
        )

    side = st.integers(20, 600)
    flag = st.booleans()
    return st.builds(make, st.integers(0, 2), numbers, numbers, side, side, flag, flag)


@pytest.mark.parametrize("kind", WRITABLE)
@settings(max_examples=10)
@given(objects=st.lists(an_object(), max_size=4))
def test_what_is_written_is_read_again(kind, images, tmp_path_factory, objects):
    found = a_set(images, *objects)
    again = written(found, kind, tmp_path_factory.mktemp("out"))
    assert again.class_names == NAMES
    assert [image.path.name for image in again.images] == ["000.jpg", "001.jpg"]
    assert len(again.images[0].objects) == len(objects)
    for one, other in zip(again.images[0].objects, objects, strict=True):
        assert one.label == other.label
        np.testing.assert_allclose(one.corners, other.corners, atol=1e-4)
        for key in ("difficult", "crowd"):
            expected = getattr(other, key) if key in FORMATS[kind].keeps else False
            assert getattr(one, key) == expected, key


SOME = (
    AnnotatedObject(0, (1.0, 2.0, 31.0, 22.0), difficult=True),
    AnnotatedObject(2, (10.5, 4.25, 60.0, 47.0)),
)


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo", "labelme"])
def test_another_tool_reads_what_is_written(kind, images, tmp_path):
    globox = pytest.importorskip("globox")
    FORMATS[kind].write(a_set(images, *SOME), tmp_path, "train2017")
    sets = globox.AnnotationSet
    found = {
        "coco": lambda: sets.from_coco(tmp_path / "annotations" / "instances_train2017.json"),
        "voc": lambda: sets.from_pascal_voc(tmp_path / "Annotations"),
        "yolo": lambda: sets.from_yolo_v5(
            tmp_path / "labels" / "train2017", image_folder=images, image_extension=".jpg"
        ),
        "labelme": lambda: sets.from_labelme(tmp_path),
    }[kind]()
    boxes = found["000.jpg"].boxes
    assert len(found["001.jpg"].boxes) == 0
    assert [box.label for box in boxes] == ["0", "2"] if kind == "yolo" else ["cat", "a b"]
    for box, item in zip(boxes, SOME, strict=True):
        np.testing.assert_allclose(
            (box.xmin, box.ymin, box.xmax, box.ymax), item.corners, atol=1e-4
        )


def test_another_tool_reads_and_writes_tfrecords(images, tmp_path):
    reader = pytest.importorskip("tfrecord.reader")
    writer = pytest.importorskip("tfrecord.writer")
    FORMATS["tfrecord"].write(a_set(images, *SOME), tmp_path, "one")
    first, _ = reader.tfrecord_loader(str(tmp_path / "one.tfrecord"), None)
    assert bytes(first["image/filename"]) == b"000.jpg"
    np.testing.assert_allclose(first["image/object/bbox/xmax"], [31 / 64, 60 / 64], rtol=1e-6)
    assert list(first["image/object/class/label"]) == [1, 3]
    assert bytes(first["image/encoded"]) == (images / "000.jpg").read_bytes()

    path = tmp_path / "theirs.tfrecord"
    theirs = writer.TFRecordWriter(str(path))
    sides = {"xmin": [0.25, 0.0], "xmax": [0.5, 1.0], "ymin": [0.5, 0.0], "ymax": [0.75, 0.5]}
    theirs.write(
        {
            "image/filename": (b"002.jpg", "byte"),
            "image/object/class/text": ([b"dog", b"cat"], "byte"),
            "image/object/class/label": ([2, 1], "int"),
            **{f"image/object/bbox/{key}": (values, "float") for key, values in sides.items()},
        }
    )
    theirs.close()
    found = FORMATS["tfrecord"].read(path, Pictures(images), NAMES)
    assert [item.label for item in found.images[0].objects] == [1, 0]
    assert found.images[0].objects[0].corners == (16.0, 24.0, 32.0, 36.0)


def test_numbers_of_every_kind_survive_a_record(tmp_path):
    features = {"a": [-(2**40), 0, 2**62], "b": [b"", b"xyz"], "c": [0.5, -1.25], "d": []}
    write_records(tmp_path / "x", [make_example(features)])
    (data,) = records(tmp_path / "x")
    assert parse_example(data) == features


def test_label_maps_hold_any_name(images, tmp_path):
    names = ("item {", 'a "b"', "it's: 5, id: 9")
    found = a_set(images, AnnotatedObject(2, (1.0, 2.0, 31.0, 22.0)))
    FORMATS["tfrecord"].write(replace(found, class_names=names), tmp_path, "x")
    again = FORMATS["tfrecord"].read(tmp_path / "x.tfrecord", Pictures(images), None)
    assert again.class_names == names
    assert [item.label for item in again.images[0].objects] == [2]
    (tmp_path / "label_map.pbtxt").write_text("item { name: 'cat' }")
    with pytest.raises(DataError, match="item 1 has no id and name"):
        FORMATS["tfrecord"].read(tmp_path / "x.tfrecord", Pictures(images), None)


# bad input

DOG = "<object><name>dog</name><bndbox>{}</bndbox></object>"
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]>'
    "<annotation><object><name>&c;</name></object></annotation>"
)
CORNERS = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>x</ymax>"
LABELME = {"imagePath": "000.jpg", "shapes": [{"label": "dog", "points": [[1, 2], [3, 4]]}]}
ROAD = {"filename": "000.jpg", "annotations": [{"attribute": "dog", "points": [[0.1, 0.1]] * 4}]}
HEAD = "ImageID,LabelName,XMin,XMax,YMin,YMax\n"
FILES = {  # format: file name, text, what is said
    "a bomb": ("voc", "000.xml", BOMB, "defines a document type or entities"),
    "no XML": ("voc", "000.xml", "<annotation>", "000.xml: not valid XML"),
    "no number": ("voc", "000.xml", f"<a>{DOG.format(CORNERS)}</a>", "object 1: bndbox"),
    "no picture": ("voc", "x.xml", "<annotation/>", "x.xml: no image 'x'"),
    "4 numbers": ("yolo", "000.txt", "0 0.1 0.1 0.1", "000.txt: line 1: 4 numbers, not 5"),
    "6 numbers": ("yolo", "000.txt", "\n0 0.1 0.1 0.1 0.1 1", "line 2: 6 numbers"),
    "above 1": ("yolo", "000.txt", "0 0.1 0.1 12 0.1", "line 1: 0.1 0.1 12 0.1 are not all"),
    "class 7": ("yolo", "000.txt", "7 0.1 0.1 0.1 0.1", "class 7 is not between 0 and 2"),
    "class 0.5": ("yolo", "000.txt", "0.5 0.1 0.1 0.1 0.1", "class 0.5 is not"),
    "no text": ("yolo", "000.txt", b"\xff\xfe\x00", "not UTF-8 at byte 0"),
    "no JSON": ("labelme", "000.json", "{", "not valid JSON"),
    "no picture 2": (
        "labelme",
        "9.json",
        json.dumps({**LABELME, "imagePath": "9.jpg"}),
        "no image '9.jpg'",
    ),
    "one point": (
        "labelme",
        "000.json",
        json.dumps({**LABELME, "shapes": [{"label": "dog", "points": [[1, 2]]}]}),
        "shape 1: points",
    ),
    "unknown class": (
        "labelme",
        "000.json",
        json.dumps({**LABELME, "shapes": [{"label": "dgo", "points": [[1, 2], [3, 4]]}]}),
        "unknown class 'dgo'; the nearest known one is 'dog'",
    ),
    "three corners": (
        "road-json",
        "000.json",
        json.dumps({**ROAD, "annotations": [{"attribute": "dog", "points": [[0, 0]] * 3}]}),
        "annotation 1: points",
    ),
    "corner 1.5": (
        "road-json",
        "000.json",
        json.dumps({**ROAD, "annotations": [{"attribute": "dog", "points": [[1.5, 0]] * 4}]}),
        "not all between 0 and 1",
    ),
    "other XML": ("cvat", "x.xml", "<boxes/>", "is not CVAT's <annotations>"),
    "no column": ("openimages", "x.csv", "ImageID,LabelName\n", "no column XMin"),
    "bad row": ("openimages", "x.csv", HEAD + "000.jpg,dog,0.1,y,0,1\n", "row 2"),
    "row above 1": ("openimages", "x.csv", HEAD + "000.jpg,dog,0.1,1.2,0,1\n", "row 2"),
    "no record": ("tfrecord", "x.tfrecord", b"\x00" * 30, "record 1: wrong checksum of its length"),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_files_are_named_and_nothing_is_written(case, images, tmp_path, capsys):
    kind, name, content, said = FILES[case]
    folder = tmp_path / "source"
    folder.mkdir()
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    source = folder / name if kind in ("cvat", "openimages", "tfrecord") else folder
    out = tmp_path / "out"
    words = [str(source), "--from", kind, "--to", "coco", "--images", str(images)]
    assert run(convert_main, [*words, "--out", str(out), "--classes", *NAMES]) == 3
    line = error_line(capsys)
    assert said in line
    assert name in line
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-2], "record 2: cut off"),
        (lambda data: data[:5], "record 1: cut off"),
        (
            lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
            "record 1: wrong checksum of its",
        ),
    ],
)
def test_damaged_records_are_named_by_their_number(images, tmp_path, damage, said):
    FORMATS["tfrecord"].write(a_set(images, *SOME), tmp_path, "x")
    path = tmp_path / "x.tfrecord"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=said):
        FORMATS["tfrecord"].read(path, Pictures(images), NAMES)


def test_a_length_that_lies_is_refused_before_it_is_read(images, tmp_path):
    from yolox.data.formats.crc32c import masked_crc32c

    head = struct.pack("<Q", 2**40)
    (tmp_path / "x").write_bytes(head + struct.pack("<I", masked_crc32c(head)))
    with pytest.raises(DataError, match="record 1: 1099511627776 bytes are too many"):
        list(records(tmp_path / "x"))


def test_two_images_of_one_stem_are_not_guessed_between(images, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    shutil.copy(folder / "000.jpg", folder / "000.png")
    with pytest.raises(DataError, match=r"'000' could be .*000\.jpg or .*000\.png"):
        Pictures(folder).find("000", "x.txt")


def test_one_image_annotated_twice_is_an_error(images, tmp_path):
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(LABELME))
    with pytest.raises(DataError, match=r"b\.json: 000\.jpg is annotated by .*a\.json, too"):
        FORMATS["labelme"].read(tmp_path, Pictures(images), None)


def yolo_folder(images, root, train):
    """A data set as Ultralytics lays it out; the second image has no label file."""
    (root / "train" / "labels").mkdir(parents=True)
    (root / "train" / "labels" / "000.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (root / "train" / "images").mkdir()
    for name in ("000.jpg", "001.jpg"):
        shutil.copy(images / name, root / "train" / "images")
    (root / "data.yaml").write_text(f"train: {train}\nnc: 3\nnames: [cat, dog, a b]\n")
    return root


@pytest.mark.parametrize("train", ["train/images", "../train/images"])
def test_images_without_labels_are_backgrounds(images, tmp_path, train):
    found = DetectionDataset(yolo_folder(images, tmp_path / "x", train), "train", "")
    assert [path.name for path in found.paths] == ["000.jpg", "001.jpg"]
    assert [len(found.targets(number)[0]) for number in (0, 1)] == [1, 0]


def test_a_split_that_is_not_there(images, tmp_path):
    folder = yolo_folder(images, tmp_path / "x", "train/images")
    with pytest.raises(
        DataError, match=r"data\.yaml: val None is no folder \(splits there: train\)"
    ):
        DetectionDataset(folder, "val", "")


def test_folders_of_other_systems_in_names(images, tmp_path):
    content = {**LABELME, "imagePath": "..\\images\\000.jpg"}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (found,) = FORMATS["labelme"].read(tmp_path, Pictures(images), None).images
    assert found.path.name == "000.jpg"


# the command, and what training reads


def test_convert_counts_and_says_what_is_lost(images, tmp_path, capsys):
    FORMATS["coco"].write(a_set(images, *SOME), tmp_path / "coco", "a")
    source = tmp_path / "coco" / "annotations" / "instances_a.json"
    words = [str(source), "--from", "coco", "--to", "yolo", "--images", str(images)]
    out = tmp_path / "out"
    assert run(convert_main, [*words, "--out", str(out), "--name", "val"]) == 0
    said = capsys.readouterr()
    assert "yolo has no place for difficult: 1 objects lose theirs" in said.err
    assert [line.split() for line in said.out.splitlines()[-1:]] == [["all", "2", "2"]]
    assert sorted(p.name for p in (out / "images" / "val").iterdir()) == ["000.jpg", "001.jpg"]
    assert run(convert_main, [*words, "--out", str(out)]) == 2
    assert "is not empty" in error_line(capsys)


@pytest.mark.parametrize("kind", WRITABLE)
def test_annotations_alone_are_written_without_images(kind, images, tmp_path):
    FORMATS["coco"].write(a_set(images, *SOME), tmp_path / "coco", "a")
    source = tmp_path / "coco" / "annotations" / "instances_a.json"
    out = tmp_path / "out"
    words = [str(source), "--from", "coco", "--to", kind, "--images", str(images)]
    assert run(convert_main, [*words, "--out", str(out), "--no-copy"]) == 0
    assert not list(out.rglob("*.jpg"))


def test_ids_and_flags_survive_from_coco_to_coco(images, tmp_path):
    source = tmp_path / "a.json"
    boxes = {"bbox": [1, 2, 30, 20], "area": 77.5}
    content = {
        "images": [{"id": 70, "file_name": "001.jpg", "width": 64, "height": 48}],
        "annotations": [
            {"id": 9, "image_id": 70, "category_id": 34, **boxes, "iscrowd": 1},
            {"id": 4, "image_id": 70, "category_id": 2, **boxes, "iscrowd": 0, "difficult": 1},
        ],
        "categories": [{"id": 2, "name": "cat"}, {"id": 34, "name": "dog"}],
    }
    source.write_text(json.dumps(content))
    words = [str(source), "--from", "coco", "--to", "coco", "--images", str(images)]
    assert run(convert_main, [*words, "--out", str(tmp_path / "out"), "--name", "b"]) == 0
    found = json.loads((tmp_path / "out" / "annotations" / "instances_b.json").read_text())
    content["annotations"][0]["difficult"] = 0
    assert found == content


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_training_reads_the_folder_as_it_is(kind, images, tmp_path, capsys):
    FORMATS["coco"].write(a_set(images, *SOME), tmp_path / "coco", "a")
    source = tmp_path / "coco" / "annotations" / "instances_a.json"
    for path in images.iterdir():
        (tmp_path / "coco" / "a").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "coco" / "a")
    out = tmp_path / kind
    words = [str(source), "--from", "coco", "--to", kind, "--images", str(images)]
    assert run(convert_main, [*words, "--out", str(out), "--name", "train"]) == 0
    plain = DetectionDataset(tmp_path / "coco", "instances_a.json", "a")
    for name in ("train", "instances_train2017.json"):  # the default option means the split
        found = DetectionDataset(out, name, "train2017")
        assert [path.name for path in found.paths] == ["000.jpg", "001.jpg"]
        boxes, labels = found.targets(0)
        expected, wanted = plain.targets(0)
        np.testing.assert_allclose(boxes, expected, atol=1e-5)
        own = [found.class_names[label] for label in labels]
        assert own == [plain.class_names[label] for label in wanted]
        assert found.sample(0).image.shape == (48, 64, 3)
    before = found.labels_hash()
    label_file = next(out.rglob("000.xml" if kind == "voc" else "000.txt"))
    text = label_file.read_text()
    label_file.write_text(
        text.replace("31", "30") if kind == "voc" else text.replace("0.25", "0.26")
    )
    assert found.labels_hash() != before

"""Mistakes that cost users of other detectors days, and what is read here by who makes them.

Each test makes the mistake on a small set of drawn shapes or on files of its own.
"""

import hashlib
import json

import cv2
import numpy as np
import pytest
import tfrecord

from tests.logs import logged
from tests.pipeline.runs import error_line
from yolox.cli.common import run
from yolox.cli.convert import main as convert_main
from yolox.cli.doctor import main as doctor_main
from yolox.cli.train import main as train_main
from yolox.data.dataset import DetectionDataset, size_warning
from yolox.data.formats.table import FORMATS
from yolox.engine.progress import _log_dataset
from yolox.eval.coco_ap import coco_metrics, ground_truth
from yolox.eval.tables import class_table

NAMES = ("car", "truck", "bus", "pedestrian")
SIZE_WH = (96, 64)


@pytest.fixture
def folder(tmp_path):
    """Twelve images without annotations yet."""
    root = tmp_path / "road"
    (root / "val2017").mkdir(parents=True)
    for number in range(12):
        pixels = np.full((SIZE_WH[1], SIZE_WH[0], 3), 10 * number, np.uint8)
        cv2.imwrite(str(root / "val2017" / f"{number}.png"), pixels)
    return root


def road_json(folder, attribute="car"):
    """An annotation file per image, as the source system had them: four normalised corners."""
    out = folder / "labels"
    out.mkdir(exist_ok=True)
    corners = [[0.25, 0.25], [0.5, 0.25], [0.5, 0.5], [0.25, 0.5]]
    for number in range(12):
        name = NAMES[number % 4] if number else attribute
        entry = {
            "filename": f"{number}.png",
            "annotations": [{"attribute": name, "points": corners}],
        }
        (out / f"{number}.json").write_text(json.dumps(entry))
    return out


def coco(folder, boxes, first=1, size_wh=SIZE_WH):
    """A COCO file with a box for each image; ids of categories from `first`."""
    content = {
        "images": [
            {"id": n, "file_name": f"{n}.png", "width": size_wh[0], "height": size_wh[1]}
            for n in range(12)
        ],
        "annotations": [
            {
                "id": n + 1,
                "image_id": n,
                "category_id": first + n % 4,
                "bbox": box,
                "area": 1.0,
                "iscrowd": 0,
            }
            for n, box in enumerate(boxes)
        ],
        "categories": [{"id": first + n, "name": name} for n, name in enumerate(NAMES)],
    }
    path = folder / "annotations" / "val.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return DetectionDataset(folder, "val.json", "val2017")


BOXES = [[20.0 + n, 10.0, 24.0, 16.0] for n in range(12)]


def warnings_of(dataset):
    with logged("WARNING") as lines:
        _log_dataset(dataset)
    return "\n".join(lines)


def to_coco(folder, attribute="car"):
    """The words that convert such files, which are written."""
    source, images = road_json(folder, attribute), folder / "val2017"
    return [str(source), "--from", "road-json", "--to", "coco", "--images", str(images)]


@pytest.mark.parametrize("first", [0, 1, 7])
def test_classes_numbered_from_zero_do_not_vanish(folder, first):
    """Where 0 meant background or padding, all cars were gone."""
    dataset = coco(folder, BOXES, first)
    labels = [int(dataset.targets(n)[1][0]) for n in range(12)]
    assert [labels.count(n) for n in range(4)] == [3, 3, 3, 3]
    assert dataset.category_ids == [first + n for n in range(4)]
    found = [
        {"image_id": n, "category_id": first + n % 4, "bbox": box, "score": 0.9}
        for n, box in enumerate(BOXES)
    ]
    metrics = coco_metrics(ground_truth(dataset), found)
    assert pytest.approx(1.0) == metrics.AP  # and back in the ids of the file


@pytest.mark.parametrize("base", [0, 1])
def test_records_numbered_from_zero_keep_their_cars(folder, tmp_path, base):
    """TFRecords without names, whose labels begin with 0 against the rules of their API."""
    writer = tfrecord.TFRecordWriter(str(tmp_path / "train.tfrecord"))
    for number in range(12):
        encoded = (folder / "val2017" / f"{number}.png").read_bytes()
        values = {"filename": (f"{number}.png".encode(), "byte"), "encoded": (encoded, "byte")}
        values |= {"height": (SIZE_WH[1], "int"), "width": (SIZE_WH[0], "int")}
        record = {f"image/{key}": value for key, value in values.items()}
        for side, value in {"xmin": 0.25, "xmax": 0.5, "ymin": 0.25, "ymax": 0.5}.items():
            record[f"image/object/bbox/{side}"] = ([value], "float")
        record["image/object/class/label"] = ([base + number % 4], "int")
        writer.write(record)
    writer.close()
    items = [f"item {{ id: {base + n} name: '{name}' }}" for n, name in enumerate(NAMES)]
    (tmp_path / "label_map.pbtxt").write_text("\n".join(items))
    found = FORMATS["tfrecord"].read(tmp_path / "train.tfrecord", None, None)
    assert found.counts() == dict.fromkeys(NAMES, 3)


def test_names_in_another_case_are_not_skipped(folder, tmp_path, capsys):
    """'Pedestrian' was none of the classes, so nothing was learnt of some of them."""
    words = to_coco(folder, attribute="Pedestrian")
    out = tmp_path / "out"
    assert run(convert_main, [*words, "--out", str(out), "--classes", *NAMES]) == 3
    said = error_line(capsys)
    assert "0.json" in said
    assert "unknown class 'Pedestrian'; the nearest known one is 'pedestrian'" in said
    assert not out.exists()


def test_conversion_counts_objects_in_and_out(folder, tmp_path, capsys):
    words = to_coco(folder)
    assert run(convert_main, [*words, "--out", str(tmp_path / "out")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    for name in NAMES:
        assert any(row.count("3") == 2 for row in rows if name in row), rows


def test_centres_written_as_corners_are_noticed(folder, capsys):
    """Boxes of a detector's form (centre, size) in a format that has corners."""
    centres = [[60.0, 40.0 + n, 60.0, 20.0] for n in range(12)]
    right = coco(folder, [[x - w / 2, y - h / 2, w, h] for x, y, w, h in centres])
    assert "centres" not in warnings_of(right)
    said = warnings_of(coco(folder, centres))
    assert "12 of 12 boxes reach beyond the right or lower edge" in said
    assert "as if centres were written where the format has upper left corners" in said
    words = ["--data", str(folder), "--json", "val.json", "--name", "val2017"]
    assert doctor_main(words) == 0
    assert "misplaced_boxes" in capsys.readouterr().out


def test_boxes_drawn_too_large_are_no_such_mistake(folder):
    """They reach beyond every edge; and a few beyond two of them are chance."""
    around = [[-4.0, -4.0, 110.0, 80.0]] * 12
    assert "centres" not in warnings_of(coco(folder, around))
    few = [[80.0, 40.0, 30.0, 10.0]] * 3 + BOXES[3:]
    assert "centres" not in warnings_of(coco(folder, few))


def test_height_and_width_swapped_are_noticed(folder):
    dataset = coco(folder, BOXES, size_wh=SIZE_WH[::-1])
    assert "64 x 96 in the JSON, 96 x 64 in the file (swapped)" in size_warning(dataset)
    assert "(swapped)" in warnings_of(dataset)


def test_a_second_run_does_not_append(folder, tmp_path, capsys):
    """One of two merged files had every box twice, the other was no JSON any more."""
    words = to_coco(folder)
    out = tmp_path / "out"
    assert run(convert_main, [*words, "--out", str(out)]) == 0
    path = out / "annotations" / "instances_train2017.json"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    assert run(convert_main, [*words, "--out", str(out)]) == 2
    assert f"{out} is not empty" in error_line(capsys)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert run(convert_main, [*words, "--out", str(tmp_path / "again")]) == 0
    again = tmp_path / "again" / "annotations" / "instances_train2017.json"
    assert hashlib.sha256(again.read_bytes()).hexdigest() == before


def test_hyper_parameters_that_nobody_knows_are_refused(capsys):
    """They were accepted and did nothing; the right name is said."""
    assert run(train_main, ["-n", "efficientdet-d0", "anchor_scales", "3"]) == 2
    said = error_line(capsys)
    assert "anchor_scales" in said
    assert "anchor_scale" in said.replace("anchor_scales", "")


def test_classes_without_one_detection_are_named(folder):
    """The overall AP was looked at, and all pedestrians were missed."""
    dataset = coco(folder, BOXES)
    found = [
        {"image_id": n, "category_id": 1 + n % 4, "bbox": box, "score": 0.9}
        for n, box in enumerate(BOXES)
        if n % 4 != 3
    ]
    metrics = coco_metrics(ground_truth(dataset), found)
    table = class_table(metrics)
    assert pytest.approx(0.75) == metrics.AP
    assert "warning: boxes but not one detection: pedestrian" in table

"""Reading COCO JSON: what is accepted, what is mended, and what is refused by name."""

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox.data.coco_classes import COCO_IDS, COCO_NAMES
from yolox.data.dataset import DetectionDataset
from yolox.data.doctor import examine
from yolox.data.image import is_cut_off, read_image
from yolox.errors import DataError
from yolox.eval.coco_ap import coco_metrics, ground_truth
from yolox.eval.matches import match

WIDTH, HEIGHT = 64, 48
NAN = float("nan")


def write_set(folder: Path, annotations: list[dict[str, Any]], **changes: Any) -> Path:
    """A data set of two images, 64 x 48, with category ids 3 and 7; gives its folder.

    changes: `image_dir`, or entries of the JSON that are put in place of the usual ones.
    """
    image_dir = folder / changes.pop("image_dir", "train2017")
    image_dir.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    entries = []
    for number in (1, 2):
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(image_dir / f"{number}.jpg"), pixels)
        entry = {"id": number, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT}
        entries.append(entry)
    categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
    content = {"images": entries, "annotations": annotations, "categories": categories, **changes}
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / "train.json").write_text(json.dumps(content))
    return folder


def box(*bbox: float, **changes: Any) -> dict[str, Any]:
    """An annotation of class 'dog' on image 1."""
    return {"id": 1, "image_id": 1, "category_id": 7, "bbox": list(bbox), "iscrowd": 0, **changes}


def read(folder: Path, strict: bool = True) -> DetectionDataset:
    return DetectionDataset(folder, "train.json", "train2017", strict)


def kinds(dataset: DetectionDataset) -> dict[str, int]:
    return dict(dataset.problem_counts())


def test_boxes_and_contiguous_labels(tmp_path: Path) -> None:
    annotations = [
        box(1, 2, 10, 20, id=1, image_id=2),
        box(5, 6, 7, 8, id=2, category_id=3),
        box(0, 0, 64, 48, id=3),
    ]
    dataset = read(write_set(tmp_path, annotations))
    assert dataset.class_names == ("cat", "dog")
    assert dataset.category_ids == [3, 7]
    boxes, labels = dataset.targets(0)
    assert boxes.tolist() == [[5, 6, 12, 14], [0, 0, 64, 48]]
    assert labels.tolist() == [0, 1]
    assert boxes.dtype == np.float32
    assert labels.dtype == np.int64
    boxes, labels = dataset.targets(1)
    assert (boxes.tolist(), labels.tolist()) == ([[1, 2, 11, 22]], [1])
    assert dataset.problems == []


def test_the_categories_of_coco_are_eighty_of_ninety() -> None:
    assert len(COCO_IDS) == len(set(COCO_NAMES)) == 80
    place = {name: COCO_IDS[COCO_NAMES.index(name)] for name in ("person", "stop sign", "book")}
    assert place == {"person": 1, "stop sign": 13, "book": 84}
    assert {29, 30, 45, 83, 91}.isdisjoint(COCO_IDS)


def test_targets_are_copies(tmp_path: Path) -> None:
    dataset = read(write_set(tmp_path, [box(1, 2, 10, 20)]))
    dataset.targets(0)[0][:] = 0
    assert dataset.targets(0)[0].tolist() == [[1, 2, 11, 22]]


def test_missing_folder_and_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        DetectionDataset(tmp_path / "nowhere", "train.json", "train2017")
    with pytest.raises(DataError, match=r"train\.json: No such file"):
        read(tmp_path)


def test_json_cut_in_half(tmp_path: Path) -> None:
    path = write_set(tmp_path, []) / "annotations" / "train.json"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match=r"train\.json: not valid JSON"):
        read(tmp_path)


def test_json_that_is_a_list(tmp_path: Path) -> None:
    (write_set(tmp_path, []) / "annotations" / "train.json").write_text("[]")
    with pytest.raises(DataError, match="expected a JSON object"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": []}, "'categories' is missing or empty"),
        ({"categories": [{"id": 1}]}, "every category needs 'id' and 'name'"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "id 1 stands twice"),
        (
            {"categories": [{"id": i, "name": str(n)} for n, i in enumerate((1, 2, 2))]},
            "id 2 stands twice",
        ),
        ({"images": []}, "'images' is missing or empty"),
        ({"images": [{"id": 1, "file_name": "1.jpg"}]}, "every image needs"),
        (
            {"images": [{"id": 1, "file_name": "1.jpg", "width": 0, "height": 4}]},
            r"1\.jpg: size 0 x 4",
        ),
        (
            {"images": [{"id": 1, "file_name": "1.jpg", "width": 4, "height": 4}] * 2},
            "image id 1 stands twice",
        ),
    ],
)
def test_unusable_entries_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    write_set(tmp_path, [], **changes)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_unknown_category_stops_or_is_counted(tmp_path: Path) -> None:
    write_set(tmp_path, [box(1, 2, 3, 4, id=9, category_id=5), box(1, 2, 3, 4)])
    with pytest.raises(DataError, match=r"unknown_category: annotation 9 of 1\.jpg: category_id 5"):
        read(tmp_path)
    dataset = read(tmp_path, strict=False)
    assert kinds(dataset) == {"unknown_category": 1}
    assert len(dataset.targets(0)[1]) == 1


def test_unknown_image_stops_or_is_counted(tmp_path: Path) -> None:
    write_set(tmp_path, [box(1, 2, 3, 4, id=9, image_id=77)] * 2)
    with pytest.raises(DataError, match=r"unknown_image: annotation 9 .*77 \(and 1 more\)"):
        read(tmp_path)
    assert kinds(read(tmp_path, strict=False)) == {"unknown_image": 2}


def test_missing_image_stops_or_is_passed(tmp_path: Path) -> None:
    (write_set(tmp_path, []) / "train2017" / "2.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 images missing, first: .*2\.jpg"):
        read(tmp_path)
    dataset = read(tmp_path, strict=False)
    with pytest.raises(DataError, match=r"2\.jpg: cannot be read: No such file"):
        dataset.sample(1)


@pytest.mark.parametrize("image_dir", ["train2017", ".", "images/train2017", "images"])
def test_images_in_usual_folders(tmp_path: Path, image_dir: str) -> None:
    dataset = read(write_set(tmp_path, [], image_dir=image_dir))
    assert dataset.sample(0).size_hw == (HEIGHT, WIDTH)


def test_json_beside_the_annotations_folder(tmp_path: Path) -> None:
    path = write_set(tmp_path, []) / "annotations" / "train.json"
    path.rename(tmp_path / "train.json")
    assert read(tmp_path).json_path == tmp_path / "train.json"


def test_crowd_boxes_are_not_targets(tmp_path: Path) -> None:
    dataset = read(write_set(tmp_path, [box(1, 2, 3, 4, iscrowd=1), box(5, 6, 7, 8, id=2)]))
    assert dataset.targets(0)[0].tolist() == [[5, 6, 12, 14]]
    assert dataset.problems == []


@pytest.mark.parametrize("value", [2, -1, 0.5, "0", "false", [1], NAN])
def test_a_crowd_flag_that_is_neither_0_nor_1_is_told_and_is_no_crowd(
    tmp_path: Path, value: Any
) -> None:
    write_set(tmp_path, [box(1, 2, 3, 4, id=5, iscrowd=value)])
    dataset = read(tmp_path)
    assert len(dataset.targets(0)[1]) == 1
    assert [(p.kind, p.annotation_id) for p in dataset.problems] == [("bad_iscrowd", 5)]
    assert [entry["iscrowd"] for entry in ground_truth(dataset)["annotations"]] == [0]
    assert examine(tmp_path, "train.json", "train2017").crowd_boxes == 0


@pytest.mark.parametrize("value", [1, True, 1.0, 0, False, None])
def test_crowd_flags(tmp_path: Path, value: Any) -> None:
    dataset = read(write_set(tmp_path, [box(1, 2, 3, 4, iscrowd=value)]))
    assert (len(dataset.targets(0)[1]), dataset.crowd_boxes) == (int(not value), int(bool(value)))
    assert [e["iscrowd"] for e in ground_truth(dataset)["annotations"]] == [int(bool(value))]
    assert dataset.problems == []


def test_a_crowd_without_a_box_is_told(tmp_path: Path) -> None:
    dataset = read(write_set(tmp_path, [box(1, 2, 3, iscrowd=1)]))
    assert kinds(dataset) == {"bad_box": 1}
    assert dataset.crowd_boxes == 0
    assert ground_truth(dataset)["annotations"] == []


@pytest.mark.parametrize("value", [-1, "7", NAN, float("inf"), 1e11, 10**400, True, []])
def test_an_area_that_is_none_is_told_and_that_of_the_box_counts(
    tmp_path: Path, value: Any
) -> None:
    dataset = read(write_set(tmp_path, [box(1, 2, 3, 4, area=value)]))
    assert kinds(dataset) == {"bad_area": 1}
    assert [entry["area"] for entry in ground_truth(dataset)["annotations"]] == [12.0]


def test_a_stated_area_counts(tmp_path: Path) -> None:
    dataset = read(write_set(tmp_path, [box(1, 2, 3, 4, area=5), box(1, 2, 3, 4)]))
    assert [entry["area"] for entry in ground_truth(dataset)["annotations"]] == [5.0, 12.0]


@pytest.mark.parametrize("value", [True, None, [1], {"a": 1}, NAN, 10**400, "1"])
def test_ids_that_name_nothing(tmp_path: Path, value: Any) -> None:
    write_set(tmp_path, [box(1, 2, 3, 4, image_id=value), box(1, 2, 3, 4, category_id=value)])
    assert kinds(read(tmp_path, strict=False)) == {"unknown_image": 1, "unknown_category": 1}
    with pytest.raises(DataError, match="unknown_image"):
        read(tmp_path)
    report = examine(tmp_path, "train.json", "train2017")
    assert report.fatal_counts == {"unknown_image": 1, "unknown_category": 1}


@pytest.mark.parametrize(
    ("key", "field", "value", "said"),
    [
        ("images", "id", [1], "image id .* is no number"),
        ("images", "id", float("inf"), "image id inf"),
        ("images", "file_name", "a\0b", "file_name 'a.x00b'"),
        ("images", "file_name", "\ud800", r"file_name '.ud800'"),
        ("images", "width", 10**400, "size 1000"),
        ("images", "height", 2e5, "size 64 x 200000"),
        ("categories", "id", float("inf"), "category id inf"),
        ("categories", "id", 2**63, "category id 9223372036854775808"),
        ("categories", "id", 2.5, "category id 2.5"),
        ("categories", "name", None, "name None"),
        ("categories", "name", "a\nb", "name 'a.nb'"),
    ],
)
def test_values_that_cannot_be_used_are_named(
    tmp_path: Path, key: str, field: str, value: Any, said: str
) -> None:
    path = write_set(tmp_path, []) / "annotations" / "train.json"
    content = json.loads(path.read_text())
    content[key][0][field] = value
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"train\.json: .*{said}"):
        read(tmp_path)


@pytest.mark.parametrize("ids", [(-1, 2), ("a", "b"), (2**63, 2), (2**70, 2), (1.0, 2)])
def test_ids_of_every_kind_are_evaluated(tmp_path: Path, ids: tuple[Any, Any]) -> None:
    write_set(tmp_path, [box(1, 2, 30, 20, image_id=ids[0])])
    path = tmp_path / "annotations" / "train.json"
    content = json.loads(path.read_text())
    for entry, identifier in zip(content["images"], ids, strict=True):
        entry["id"] = identifier
    content["categories"][0]["id"] = content["annotations"][0]["category_id"] = -7
    path.write_text(json.dumps(content))
    truth = ground_truth(read(tmp_path))
    found = [{**truth["annotations"][0], "score": 0.5}]
    for engine in ("hotcoco", "pycocotools"):
        metrics = coco_metrics(truth, found, engine)
        assert pytest.approx(1.0) == metrics.per_class["dog"].AP
        matches = match(truth, found, engine)
        assert (matches.names, matches.boxes.sum()) == (("dog",), 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "not valid JSON"),
        ('{"images": ' + "9" * 5000 + "}", "not valid JSON"),
        ('{"images": [], "images": []}', "key 'images' stands twice"),
        ('{"images": [{"id": 1, "id": 2}]}', "key 'id' stands twice"),
    ],
)
def test_json_that_breaks_readers(tmp_path: Path, text: str, said: str) -> None:
    (write_set(tmp_path, []) / "annotations" / "train.json").write_text(text)
    with pytest.raises(DataError, match=rf"train\.json: .*{said}"):
        read(tmp_path)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = write_set(tmp_path, [box(1, 2, 3, 4)]) / "annotations" / "train.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read(tmp_path).targets(0)[1]) == 1


def test_a_pipe_is_no_annotation_file(tmp_path: Path) -> None:
    path = write_set(tmp_path, []) / "annotations" / "train.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="it is no regular file"):
        read(tmp_path)


def test_classes_of_one_name_keep_their_rows(tmp_path: Path) -> None:
    categories = [{"id": 7, "name": "cat"}, {"id": 3, "name": "cat"}]
    truth = ground_truth(read(write_set(tmp_path, [box(1, 2, 3, 4)], categories=categories)))
    rows = coco_metrics(truth, []).per_class
    assert {name: row.boxes for name, row in rows.items()} == {"cat [0]": 0, "cat [1]": 1}


def test_images_without_boxes(tmp_path: Path) -> None:
    dataset = read(write_set(tmp_path, []))
    sample = dataset.sample(0)
    assert sample.boxes_xyxy.shape == (0, 4)
    assert sample.labels.shape == (0,)


def test_annotations_may_be_absent(tmp_path: Path) -> None:
    path = write_set(tmp_path, []) / "annotations" / "train.json"
    content = json.loads(path.read_text())
    del content["annotations"]
    path.write_text(json.dumps(content))
    assert read(tmp_path).targets(0)[0].shape == (0, 4)


def test_segmentation_area_and_iscrowd_may_be_absent(tmp_path: Path) -> None:
    annotation = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]}
    assert read(write_set(tmp_path, [annotation])).targets(0)[0].tolist() == [[1, 2, 4, 6]]


def test_negative_corners_are_clipped_not_moved(tmp_path: Path) -> None:
    dataset = read(write_set(tmp_path, [box(-10, -20, 30, 40)]))
    assert dataset.targets(0)[0].tolist() == [[0, 0, 20, 20]]
    assert kinds(dataset) == {"partly_outside": 1}


def test_a_pixel_of_rounding_is_clipped_in_silence(tmp_path: Path) -> None:
    dataset = read(write_set(tmp_path, [box(-1, 0, WIDTH + 2, HEIGHT)]))
    assert dataset.targets(0)[0].tolist() == [[0, 0, WIDTH, HEIGHT]]
    assert dataset.problems == []


@pytest.mark.parametrize(
    ("bbox", "kind"),
    [
        ([NAN, 1, 2, 3], "bad_box"),
        ([1, 1, float("inf"), 3], "bad_box"),
        ([1, 2, 3], "bad_box"),
        ([1, 2, 10**400, 4], "bad_box"),
        ([1, 2, 1e9, 4], "bad_box"),
        ([True, 2, 3, 4], "bad_box"),
        (None, "bad_box"),
        (["a", 1, 2, 3], "bad_box"),
        ([1, 2, 0, 3], "zero_size"),
        ([1, 2, 3, -4], "zero_size"),
        ([WIDTH, 2, 3, 4], "outside_image"),
        ([-30, 2, 20, 4], "outside_image"),
    ],
)
def test_unusable_boxes_are_dropped_and_counted(tmp_path: Path, bbox: Any, kind: str) -> None:
    dataset = read(write_set(tmp_path, [box(5, 6, 7, 8), box(id=2) | {"bbox": bbox}]))
    assert dataset.targets(0)[0].tolist() == [[5, 6, 12, 14]]
    assert [(p.kind, p.annotation_id, p.file_name) for p in dataset.problems] == [
        (kind, 2, "1.jpg")
    ]


def test_boxes_follow_a_file_of_another_size(tmp_path: Path) -> None:
    write_set(tmp_path, [box(8, 6, 16, 12)])
    small = np.zeros((HEIGHT // 2, WIDTH // 4, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "train2017" / "1.jpg"), small)
    dataset = read(tmp_path)
    assert dataset.sample(0).boxes_xyxy.tolist() == [[2, 3, 6, 9]]
    assert dataset.targets(0)[0].tolist() == [[8, 6, 24, 18]]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_image_cut_in_half(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    whole = path.read_bytes()
    assert read_image(path).shape == (40, 40, 3)
    for share in (0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError, match=rf"a\{suffix}: the file is cut off"):
            read_image(path)


def test_bytes_behind_the_end_are_no_cut(tmp_path: Path) -> None:
    ok, data = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))
    assert ok
    assert not is_cut_off(data.tobytes() + b"\x00" * 10)
    assert is_cut_off(data.tobytes()[:-2])


@pytest.mark.parametrize("content", [b"", b"GIF", b"\xff\xd8\xff\xd9", b"no image at all"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jpg: "):
        read_image(tmp_path / "a.jpg")


def test_grey_images_are_read_as_three_channels(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 6), 9, np.uint8))
    image = read_image(tmp_path / "a.png")
    assert image.shape == (4, 6, 3)
    assert (image == 9).all()

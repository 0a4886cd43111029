"""The doctor: each planted defect is found, with its file and annotation."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox.cli.doctor import main
from yolox.data.dataset import DetectionDataset
from yolox.data.doctor import Report, draw_targets, examine, format_report, report_json
from yolox.data.draw import class_colour, draw_boxes
from yolox.errors import DataError, UsageError

WIDTH, HEIGHT = 120, 100


class Patient:
    """Four healthy images of 120 x 100 with one box each; a test plants its defect."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.image_dir = folder / "val2017"
        self.image_dir.mkdir(parents=True)
        rng = np.random.default_rng(0)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
        for number in range(1, 5):
            pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            cv2.imwrite(str(self.path(number)), pixels)
            name = self.path(number).name
            image = {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
            self.images.append(image)
            self.annotate(image_id=number, category_id=1 + number % 2, bbox=[10, 10, 40, 50])

    def path(self, number: int) -> Path:
        return self.image_dir / f"{number}.jpg"

    def annotate(self, **values: Any) -> None:
        default = {"id": 10 + len(self.annotations), "image_id": 1, "category_id": 1}
        self.annotations.append({**default, **values})

    def examine(self) -> Report:
        self.write()
        return examine(self.folder, "val.json", "val2017")

    def write(self) -> list[str]:
        """Write the JSON; give the command line that examines it."""
        content = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": self.categories,
        }
        path = self.folder / "annotations" / "val.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return ["--data", str(self.folder), "--json", "val.json", "--name", "val2017"]


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path / "set")


def found(report: Report) -> list[tuple[str, object, str]]:
    return [(p.kind, p.annotation_id, p.file_name) for p in report.problems]


def test_healthy_set(patient: Patient) -> None:
    report = patient.examine()
    assert report.problems == ()
    assert not report.fatal
    assert (report.images, report.boxes, report.crowd_boxes) == (4, 4, 0)
    assert report.class_counts == {"cat": 2, "dog": 2}
    assert report.images_without_boxes == 0
    assert report.has_contiguous_ids
    assert "no problems" in format_report(report)


def test_statistics(patient: Patient) -> None:
    patient.annotate(bbox=[0, 0, 31, 32])  # just small
    patient.annotate(bbox=[0, 0, 96, 96])  # just medium
    patient.annotate(bbox=[0, 0, 97, 96])  # just large
    patient.annotate(bbox=[0, 0, 5, 5], iscrowd=1)
    report = patient.examine()
    assert report.size_counts == {"small": 1, "medium": 5, "large": 1}
    assert report.crowd_boxes == 1
    assert report.side_quantiles["0%"] == pytest.approx((31 * 32) ** 0.5)
    assert report.side_quantiles["50%"] == pytest.approx(2000**0.5)
    assert report.per_image_quantiles["100%"] == 4
    assert not report.problems


def test_set_without_any_box(patient: Patient) -> None:
    patient.annotations.clear()
    report = patient.examine()
    assert (report.boxes, report.images_without_boxes) == (0, 4)
    assert report.unused_classes == ["cat", "dog"]
    assert "no box" in format_report(report)


def test_category_ids_with_gaps(patient: Patient) -> None:
    patient.categories = [{"id": 0, "name": "bird"}, *patient.categories, {"id": 9, "name": "fox"}]
    report = patient.examine()
    assert not report.has_contiguous_ids
    assert report.unused_classes == ["bird", "fox"]
    assert "4 from 0 to 9, with gaps" in format_report(report)


def test_bad_annotations(patient: Patient) -> None:
    patient.annotate(id=90, bbox=[-20, 0, 50, 50])
    patient.annotate(id=91, bbox=[5, 5, 0, 9])
    patient.annotate(id=92, bbox=[500, 5, 9, 9])
    patient.annotate(id=93, bbox=[float("nan"), 5, 9, 9])
    patient.annotate(id=94, image_id=2, bbox=[10, 10, 40.0, 50])
    patient.annotate(id=95, image_id=2, bbox=[10, 10, 40, 50], iscrowd=1)
    patient.annotate(id=96, image_id=2, category_id=2, bbox=[10, 10, 40, 50])
    patient.annotate(id=97, image_id=2, bbox=None)
    patient.annotate(id=90, image_id=3, bbox=[1, 1, 9, 9])
    report = patient.examine()
    assert found(report) == [
        ("bad_box", 93, "1.jpg"),
        ("bad_box", 97, "2.jpg"),
        ("partly_outside", 90, "1.jpg"),
        ("zero_size", 91, "1.jpg"),
        ("outside_image", 92, "1.jpg"),
        ("duplicate_box", 94, "2.jpg"),
        ("duplicate_id", 90, "3.jpg"),
    ]
    assert not report.fatal


@pytest.mark.parametrize(
    ("changes", "kind", "file_name"),
    [
        ({"image_id": 99}, "unknown_image", "val.json"),
        ({"category_id": 7}, "unknown_category", "1.jpg"),
    ],
)
def test_unknown_ids_are_fatal(patient: Patient, changes: dict, kind: str, file_name: str) -> None:
    patient.annotate(id=95, bbox=[1, 1, 9, 9], **changes)
    report = patient.examine()
    assert found(report) == [(kind, 95, file_name)]
    assert report.fatal


def test_missing_image(patient: Patient) -> None:
    patient.path(2).unlink()
    report = patient.examine()
    assert found(report) == [("missing_image", None, "2.jpg")]
    assert report.fatal


def test_unreadable_image(patient: Patient) -> None:
    patient.path(2).write_bytes(b"no image")
    report = patient.examine()
    assert found(report) == [("unreadable_image", None, "2.jpg")]
    assert report.fatal


def test_cut_off_image(patient: Patient) -> None:
    data = patient.path(3).read_bytes()
    patient.path(3).write_bytes(data[: len(data) // 2])
    report = patient.examine()
    assert found(report) == [("cut_off_image", None, "3.jpg")]
    assert report.fatal


def test_sizes_that_differ_from_the_file(patient: Patient) -> None:
    patient.images[0].update(width=HEIGHT, height=WIDTH)
    patient.images[1].update(width=2 * WIDTH)
    report = patient.examine()
    assert found(report) == [("size_mismatch", None, "1.jpg"), ("size_mismatch", None, "2.jpg")]
    assert report.problems[0].detail == "100 x 120 in the JSON, 120 x 100 in the file (swapped)"
    assert "swapped" not in report.problems[1].detail
    assert not report.fatal


def test_duplicate_images(patient: Patient) -> None:
    shutil.copy(patient.path(1), patient.path(4))
    report = patient.examine()
    assert found(report) == [("duplicate_image", None, "4.jpg")]
    assert report.problems[0].detail == "same bytes as 1.jpg"


def test_class_name_that_stands_twice(patient: Patient) -> None:
    patient.categories[1]["name"] = "cat"
    report = patient.examine()
    assert found(report) == [("duplicate_class_name", None, "val.json")]
    assert report.class_counts == {"cat [0]": 2, "cat [1]": 2}


def test_text_shows_a_few_examples_and_json_all(patient: Patient) -> None:
    for number in range(5):
        patient.annotate(id=60 + number, bbox=[1, 1, 0, number])
    report = patient.examine()
    text = format_report(report)
    assert "62" in text
    assert "63" not in text
    values = json.loads(json.dumps(report_json(report)))
    assert [p["annotation_id"] for p in values["problems"]] == [60, 61, 62, 63, 64]
    assert values["problem_counts"] == {"zero_size": 5}
    assert values["class_counts"] == {"cat": 2, "dog": 2}
    assert values["fatal"] is False


def test_command_of_a_usable_set(
    patient: Patient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, page = tmp_path / "out" / "report.json", tmp_path / "out" / "page.jpg"
    assert main([*patient.write(), "--report", str(report), "--page", str(page)]) == 0
    assert json.loads(report.read_text())["images"] == 4
    assert cv2.imread(str(page)) is not None
    assert "no problems" in capsys.readouterr().out


def test_command_of_an_unusable_set(
    patient: Patient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patient.path(2).unlink()
    page = tmp_path / "page.jpg"
    with pytest.raises(DataError, match=r"val\.json: not usable .*: 1 missing_image$") as caught:
        main([*patient.write(), "--page", str(page)])
    assert caught.value.exit_code == 3
    assert "2.jpg" in capsys.readouterr().out
    assert page.is_file()


def test_page_is_the_same_for_the_same_seed(patient: Patient, tmp_path: Path) -> None:
    patient.write()
    dataset = DetectionDataset(patient.folder, "val.json", "val2017")
    pages = [
        draw_targets(dataset, tmp_path / f"{name}.png", np.random.default_rng(1), count=2)
        for name in "ab"
    ]
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_page_without_a_readable_image(patient: Patient, tmp_path: Path) -> None:
    patient.write()
    dataset = DetectionDataset(patient.folder, "val.json", "val2017")
    shutil.rmtree(patient.image_dir)
    with pytest.raises(DataError, match="none of the 4 images can be read"):
        draw_targets(dataset, tmp_path / "page.jpg", np.random.default_rng(0))


def test_page_of_an_unknown_type(patient: Patient, tmp_path: Path) -> None:
    patient.write()
    dataset = DetectionDataset(patient.folder, "val.json", "val2017")
    with pytest.raises(UsageError, match=r"page\.txt: a page is written as"):
        draw_targets(dataset, tmp_path / "page.txt", np.random.default_rng(0))


def test_draw_boxes_leaves_its_input_alone() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    boxes = np.array([[-50, 20, 90, 80], [150, 60, 400, 300]], np.float32)
    labels = np.array([0, 1])
    drawn = draw_boxes(image, boxes, labels, ["cat", "dog"], np.array([0.5, 1.0], np.float32))
    assert not image.any()
    assert drawn.shape == image.shape
    assert tuple(drawn[79:82, 60].max(axis=0)) == class_colour(0)
    assert tuple(drawn[90, 149:152].max(axis=0)) == class_colour(1)


def test_draw_no_boxes() -> None:
    image = np.full((10, 10, 3), 7, np.uint8)
    drawn = draw_boxes(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), [])
    np.testing.assert_array_equal(drawn, image)
    assert drawn is not image


def test_classes_have_colours_of_their_own() -> None:
    assert len({class_colour(label) for label in range(80)}) == 80

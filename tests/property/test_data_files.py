"""No annotation file and no image ends in a traceback or hangs, and nothing is left out unsaid."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given

from tests.fuzz import coco, images, voc
from tests.fuzz.settings import fuzz_settings
from tests.voc import voc_objects, voc_to_coco
from yolox.data.dataset import DetectionDataset
from yolox.data.doctor import examine, format_report, report_json
from yolox.data.image import header_size, read_image
from yolox.errors import DataError
from yolox.eval.coco_ap import coco_metrics, ground_truth
from yolox.limits import limit


@pytest.fixture(scope="module")
def coco_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco.write_images(tmp_path_factory.mktemp("coco") / "set")


@pytest.fixture(scope="module")
def voc_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voc.write_tree(tmp_path_factory.mktemp("voc") / "set")


def require_one_line(error: DataError) -> None:
    """A message is one line that every terminal can show."""
    assert len(str(error).encode().splitlines()) == 1


@given(data=coco.files())
@fuzz_settings()
def test_coco_files(coco_dir: Path, data: bytes) -> None:
    (coco_dir / "annotations" / coco.JSON_FILE).write_bytes(data)
    try:
        report = examine(coco_dir, coco.JSON_FILE, coco.IMAGES)
    except DataError as error:
        require_one_line(error)
    else:
        format_report(report).encode()
        json.dumps(report_json(report))
    for strict in (False, True):
        try:
            dataset = DetectionDataset(coco_dir, coco.JSON_FILE, coco.IMAGES, strict)
        except DataError as error:
            require_one_line(error)
            continue
        assert coco.unaccounted(dataset, data) == 0
        check_truth(dataset, data)
        for index in range(len(dataset)):
            try:
                assert len(dataset.sample(index).labels) == len(dataset.targets(index)[1])
            except DataError as error:
                require_one_line(error)


def check_truth(dataset: DetectionDataset, data: bytes) -> None:
    """What the evaluation counts is what the file holds, but for what is listed."""
    truth, counts = ground_truth(dataset), dataset.problem_counts()
    listed = len(json.loads(data.decode("utf-8-sig")).get("annotations", []))
    absent = counts["bad_box"] + counts["unknown_image"] + counts["unknown_category"]
    assert len(truth["annotations"]) == listed - absent
    found = [{**entry, "score": 0.5} for entry in truth["annotations"]]
    metrics = coco_metrics(truth, found)
    boxes = Counter(entry["iscrowd"] for entry in truth["annotations"])
    assert sum(row.boxes for row in metrics.per_class.values()) == boxes[0]
    assert not boxes[0] or metrics.AP >= 0


@given(data=voc.files(), listed=voc.lists)
@fuzz_settings()
def test_voc_files(voc_dir: Path, data: bytes, listed: bytes) -> None:
    main = voc_dir / "ImageSets" / "Main"
    (voc_dir / "Annotations" / f"{voc.STEM}.xml").write_bytes(data)
    (main / "other.txt").write_bytes(listed)
    for split in ("train", "other"):
        try:
            objects = voc_objects(voc_dir, split).total()
            content, problems = voc_to_coco(voc_dir, split, None)
        except DataError as error:
            require_one_line(error)
            continue
        left_out = sum(problem.kind == "zero_size" for problem in problems)
        assert len(content["annotations"]) + left_out == objects
        json.dumps(content).encode()


@given(data=images.files())
@fuzz_settings()
def test_image_files(voc_dir: Path, data: bytes) -> None:
    path = voc_dir / "image"
    path.write_bytes(data)
    for read in (read_image, header_size):
        try:
            found = read(path)
        except DataError as error:
            require_one_line(error)
            continue
        height, width = (found[1], found[0]) if isinstance(found, tuple) else found.shape[:2]
        assert 0 < height * width <= limit("MAX_IMAGE_PIXELS")

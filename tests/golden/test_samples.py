"""Real weights on real images, against the published reference results."""

import json

import cv2
import numpy as np
import pytest

from yolox.cli.common import run
from yolox.cli.deploy import main as deploy_main
from yolox.cli.eval import main as eval_main
from yolox.cli.export import main as export_main
from yolox.data.augment import fit_ratio, resize_by
from yolox.data.dataset import DetectionDataset
from yolox.data.image import read_image
from yolox.eval.coco_ap import ground_truth
from yolox.eval.matches import class_ap, match

REFERENCE_AP, REFERENCE_AP50 = 0.338, 0.497
OFFICIAL_AP = 0.258  # YOLOX's table: all 5,000 images of val2017, of which the samples are 128


@pytest.mark.samples
def test_nano_reaches_its_reference_ap(samples_dir, tmp_path):
    out = tmp_path / "eval.json"
    code = run(
        eval_main,
        [
            *("-n", "yolox-nano", "-c", str(samples_dir / "weights/yolox_nano.pth")),
            *("-b", "16", "--conf", "0.001", "--device", "cpu", "--json", str(out)),
            *("--interval", "--results", str(tmp_path / "results.json")),
            *("data_dir", str(samples_dir / "coco128"), "data_num_workers", "0"),
        ],
    )
    assert code == 0
    found = json.loads(out.read_text())
    assert found["AP"] == pytest.approx(REFERENCE_AP, abs=0.001)
    assert found["AP50"] == pytest.approx(REFERENCE_AP50, abs=0.001)
    assert found["params"] < 912_159  # batch norm is folded in
    assert set(found["latency_ms"]) == {"preprocess", "forward", "postprocess", "total"}
    low, high = found["AP_interval"]
    assert low < OFFICIAL_AP < high < 0.4
    assert "classes are in fewer than" in found["AP_interval_warning"]
    dataset = DetectionDataset(samples_dir / "coco128", "instances_val2017.json", "val2017")
    results = json.loads((tmp_path / "results.json").read_text())
    matches = match(ground_truth(dataset), results)
    by_class = class_ap(matches, np.ones((1, matches.images)))[0]
    assert by_class.mean() == pytest.approx(found["AP"], abs=1e-9)
    for name, value in zip(matches.names, by_class, strict=True):
        assert value == pytest.approx(found["per_class"][name]["AP"], abs=1e-9)


@pytest.mark.samples
def test_rectangular_deployment_keeps_the_ap(samples_dir, tmp_path, capsys):
    config = tmp_path / "nano.json"
    config.write_text(
        json.dumps(
            {
                "checkpoint": str(samples_dir / "weights/yolox_nano.pth"),
                "exp": "yolox-nano",
                "images": str(samples_dir / "coco128/val2017"),
                "annotations": str(samples_dir / "coco128/annotations/instances_val2017.json"),
                "answer": str(tmp_path / "answer.json"),
                "size": [416, 416],
                "batch_size": 8,
                "workers": 0,
                "device": "cpu",
                "multi_class": False,
            }
        )
    )
    assert run(deploy_main, ["--config", str(config)]) == 0
    table = capsys.readouterr().out.splitlines()
    ap = float(table[-1].split("|")[1])
    assert ap > REFERENCE_AP - 0.01
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert "pytorch" in answer[0]["framework"]
    assert answer[1]["parameters"] > 800_000
    assert set(answer[2]) == {"image_id", "category_id", "bbox", "score"}


@pytest.mark.slow
@pytest.mark.samples
def test_other_runtimes_keep_the_ap(samples_dir, tmp_path):
    nano = ["-n", "yolox-nano", "-c", str(samples_dir / "weights/yolox_nano.pth")]
    data = ["data_dir", str(samples_dir / "coco128"), "data_num_workers", "0"]
    facts, out = tmp_path / "facts.json", tmp_path / "eval.json"
    target = tmp_path / "nano.onnx"
    nms = ["--nms", "--conf", "0.001", "--dynamic", "--ap", "--json", str(facts)]
    assert run(export_main, [*nano, "--output-name", str(target), *nms, *data]) == 0
    assert json.loads(facts.read_text())["ap_exported"] == pytest.approx(REFERENCE_AP, abs=0.001)
    backend = ["--backend", "openvino", "--conf", "0.001", "-b", "8", "--json", str(out)]
    assert run(eval_main, [*nano, "--device", "cpu", *backend, *data]) == 0
    assert json.loads(out.read_text())["AP"] == pytest.approx(REFERENCE_AP, abs=0.001)


@pytest.mark.samples
def test_files_of_another_size_than_stated_keep_the_ap(samples_dir, tmp_path):
    """Stored as the network sees them, 16 images give the same pixels, and so the same AP."""
    source, stored = samples_dir / "coco128", tmp_path / "coco"
    content = json.loads((source / "annotations/instances_val2017.json").read_text())
    content["images"] = content["images"][:16]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    for folder in (stored / "annotations", stored / "full", stored / "small"):
        folder.mkdir(parents=True)
    for image in content["images"]:
        name = image["file_name"] = image["file_name"].replace(".jpg", ".png")
        pixels = read_image(source / "val2017" / name.replace(".png", ".jpg"))
        cv2.imwrite(str(stored / "full" / name), pixels)
        small = resize_by(pixels, fit_ratio(pixels.shape[:2], (416, 416)))
        cv2.imwrite(str(stored / "small" / name), small)
    (stored / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    found = []
    for name in ("full", "small"):
        out = tmp_path / f"{name}.json"
        words = ["-n", "yolox-nano", "-c", str(samples_dir / "weights/yolox_nano.pth")]
        options = ["data_dir", str(stored), "val_name", name, "data_num_workers", "0"]
        words += ["-b", "8", "--conf", "0.001", "--device", "cpu", "--json", str(out)]
        assert run(eval_main, [*words, *options]) == 0
        found.append(json.loads(out.read_text())["AP"])
    assert found[0] > 0.3
    assert found[1] == pytest.approx(found[0], abs=0.01)  # sizes are whole pixels

"""Git state, fingerprints of data, lineage."""

import hashlib
import shutil
import subprocess

import pytest

from yolox.data.dataset import DetectionDataset
from yolox.engine.provenance import data_fingerprint, git_state, lineage_entry
from yolox.errors import DataError


def test_git_state_names_the_commit_and_whether_files_were_changed(tmp_path):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *who, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert git_state(tmp_path) is None
    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "notes.txt").write_text("untracked files are not code")
    (tmp_path / "inner").mkdir()
    assert not git_state(tmp_path)["dirty"]
    assert git_state(tmp_path / "inner") is None  # installed inside another project
    (tmp_path / "code.py").write_text("2")
    assert git_state(tmp_path)["dirty"]


def test_the_fingerprint_follows_labels_names_and_images(synthetic_dir, tmp_path):
    def fingerprints():
        dataset = DetectionDataset(folder, "instances_val2017.json", "val2017")
        return data_fingerprint(dataset), data_fingerprint(dataset, full=True)

    folder = tmp_path / "data"
    shutil.copytree(synthetic_dir, folder)
    before = fingerprints()
    moved = tmp_path / "moved"
    folder.rename(moved)
    folder = moved
    assert fingerprints() == before  # where the folder lies does not matter

    image = next(folder.glob("val2017/*"))
    kept = image.read_bytes()
    image.write_bytes(kept[:-3] + bytes([kept[-3] ^ 1]) + kept[-2:])
    assert fingerprints()[0] == before[0]
    assert fingerprints()[1] != before[1]
    image.write_bytes(kept + b"\0")
    assert fingerprints()[0] != before[0]
    image.write_bytes(kept)
    labels = folder / "annotations" / "instances_val2017.json"
    labels.write_text(labels.read_text() + " ")
    assert fingerprints()[0] != before[0]

    dataset = DetectionDataset(folder, "instances_val2017.json", "val2017")
    image.unlink()
    with pytest.raises(DataError, match=image.name):
        data_fingerprint(dataset)


def test_a_lineage_entry_holds_the_file_s_hash(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"abc")
    assert lineage_entry("masked", path, "dense") == {
        "name": "masked",
        "file": str(path),
        "parent": "dense",
        "sha256": hashlib.sha256(b"abc").hexdigest(),
    }

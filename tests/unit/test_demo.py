"""What the demo writes, and what it leaves alone."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolox.cli.jobs import demo
from yolox.data.folder import find_images
from yolox.errors import UsageError, YoloxError
from yolox.predictor import ImageDetections


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    for name in ("a.jpg", "b/a.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.zeros((8, 8, 3), np.uint8))
    return folder


def detect(image):
    """Nothing is found."""
    empty = np.zeros(0, np.float32)
    return ImageDetections(image, empty.reshape(0, 4), empty, empty.astype(np.int64), ())


def run(path: Path, out: Path) -> int:
    return demo._images(path, 0, out, detect)


@pytest.mark.parametrize("form", ["same", "link", "hard link", "one file"])
def test_pictures_of_the_user_are_not_overwritten(pictures: Path, tmp_path: Path, form: str):
    before, out, path = (pictures / "a.jpg").read_bytes(), tmp_path / "out", pictures
    if form in ("same", "one file"):
        out = pictures
        path = pictures / "a.jpg" if form == "one file" else pictures
    elif form == "link":
        out.symlink_to(pictures)
    else:
        out.mkdir()
        os.link(pictures / "a.jpg", out / "a.jpg")
    with pytest.raises(UsageError, match=r"a\.jpg would be overwritten: name another --out"):
        run(path, out)
    assert (pictures / "a.jpg").read_bytes() == before


def test_every_picture_gets_a_file_of_its_own(pictures: Path, tmp_path: Path):
    run(pictures, tmp_path / "out")
    assert _names(tmp_path / "out") == ["a.jpg", "b/a.jpg"]
    cv2.imwrite(str(pictures / "a.png"), np.zeros((8, 8, 3), np.uint8))
    run(pictures, tmp_path / "more")
    assert _names(tmp_path / "more") == ["a.jpg.jpg", "a.png.jpg", "b/a.jpg.jpg"]


def test_a_picture_is_written_whole_or_not_at_all(pictures: Path, tmp_path: Path, monkeypatch):
    def fail(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(YoloxError, match=r"a\.jpg cannot be written: No space left"):
        run(pictures, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_output_folder_that_is_a_file(pictures: Path, tmp_path: Path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(YoloxError, match="cannot be written"):
        run(pictures, tmp_path / "out")


def _names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for number in range(4):
        writer.write(np.full((48, 64, 3), 50 * number, np.uint8))
    writer.release()
    return path


def test_a_video_is_not_written_over_itself(video: Path):
    before = video.read_bytes()
    with pytest.raises(UsageError, match=r"film\.mp4 would be overwritten"):
        demo._frames(str(video), video, False, detect)
    assert video.read_bytes() == before


def test_what_was_recorded_before_an_interruption_is_kept(video: Path, tmp_path: Path):
    seen = []

    def interrupted(image):
        seen.append(image)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return detect(image)

    target = tmp_path / "out" / "film.mp4"
    assert demo._frames(str(video), target, False, interrupted) == 130
    assert [path.name for path in target.parent.iterdir()] == ["film.mp4"]
    assert cv2.VideoCapture(str(target)).read()[0]


def test_ids_of_images_are_unique(tmp_path: Path):
    def ids(*names: str) -> list[int | str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        return find_images(folder).ids()

    assert ids("000012.jpg", "7.jpg", "x.jpg") == [12, 7, "x"]
    assert ids("a/1.jpg", "b/1.jpg") == ["a/1", "b/1"]
    assert ids("1.jpg", "01.jpg") == ["01", "1"]
    assert ids("1.jpg", "1.png") == ["1.jpg", "1.png"]
    assert ids("².jpg") == ["²"]

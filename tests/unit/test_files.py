import os
from pathlib import Path

import pytest

from yolox import files
from yolox.errors import UsageError, YoloxError
from yolox.files import remove_partials, whole_file, write_json, write_text
from yolox.limits import DEFAULTS, limit, over_limit


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "sub" / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as work:  # noqa: PT012
        work.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_file_is_on_the_disk_before_it_takes_its_name_and_the_name_after(tmp_path, monkeypatch):
    done, replace = [], Path.replace

    def renamed(self, target):
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", lambda number: done.append(os.fstat(number).st_ino))
    monkeypatch.setattr(Path, "replace", renamed)
    write_text(tmp_path / "a.txt", "whole")
    assert done == [(tmp_path / "a.txt").stat().st_ino, "rename", tmp_path.stat().st_ino]


def test_a_folder_that_cannot_be_flushed_keeps_what_was_written(tmp_path, monkeypatch):
    flush = files._flush

    def files_only(path):
        if path.is_dir():
            raise OSError(22, "Invalid argument")  # as some network drives say
        flush(path)

    monkeypatch.setattr(files, "_flush", files_only)
    with whole_file(tmp_path / "new.txt") as work:
        work.write_text("whole")
    assert (tmp_path / "new.txt").read_text() == "whole"


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(YoloxError, match=r"report\.json cannot be written"):
        write_json(tmp_path / "out" / "report.json", {})


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    write_text(tmp_path / "kept.txt", "x")
    (tmp_path / ".kept.txt.123.partial").write_text("half")
    assert [p.name for p in remove_partials(tmp_path)] == [".kept.txt.123.partial"]
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]
    assert remove_partials(tmp_path / "absent") == []


def test_limits_are_changed_by_the_environment(monkeypatch):
    assert over_limit("MAX_WORKERS", DEFAULTS["MAX_WORKERS"]) is None
    assert "YOLOX_MAX_WORKERS" in over_limit("MAX_WORKERS", DEFAULTS["MAX_WORKERS"] + 1)
    for digits in (400, 10_000):  # more than a float has, and than Python prints
        assert "YOLOX_MAX_WORKERS" in over_limit("MAX_WORKERS", 10**digits)
    monkeypatch.setenv("YOLOX_MAX_WORKERS", "1e3")
    assert limit("MAX_WORKERS") == 1000
    for text in ("many", "-3", "nan", "inf"):
        monkeypatch.setenv("YOLOX_MAX_WORKERS", text)
        with pytest.raises(UsageError, match="YOLOX_MAX_WORKERS"):
            limit("MAX_WORKERS")

"""What is done stays done, until what it was made from changes."""

import pytest

from yolox.compress.ledger import Ledger
from yolox.compress.stage import Artefact
from yolox.engine.log import set_up_log


class Work:
    """Writes a file with a text, and counts how often; notes whether it had begun before."""

    def __init__(self, folder, text="x"):
        self.path, self.text, self.calls, self.begun = folder / "out.txt", text, 0, []

    def __call__(self, begun):
        self.calls += 1
        self.begun.append(begun)
        if self.text is None:
            raise KeyboardInterrupt
        self.path.write_text(self.text)
        return {"out": Artefact(self.path, "dense")}


def test_a_finished_stage_is_kept(tmp_path):
    stage = Work(tmp_path)
    Ledger(tmp_path).run("another recipe's", {}, Work(tmp_path))
    for _ in range(2):
        ledger = Ledger(tmp_path)
        files = ledger.run("one", {"a": 1}, stage)
        assert files == {"out": Artefact(tmp_path / "out.txt", "dense")}
    assert stage.calls == 1
    assert list(ledger.notes()) == ["one"]
    note = ledger.notes()["one"]
    assert note["seconds"] >= 0
    assert note["peak_mb_so_far"] > 10


@pytest.mark.parametrize("change", ["inputs", "file", "gone", "again"])
def test_it_is_done_again_when_something_changed(tmp_path, change):
    stage = Work(tmp_path)
    Ledger(tmp_path).run("one", {"a": 1}, stage)
    if change == "file":
        stage.path.write_text("other")
    if change == "gone":
        stage.path.unlink()
    again = ("one",) if change == "again" else ()
    inputs = {"a": 2} if change == "inputs" else {"a": 1}
    Ledger(tmp_path, again).run("one", inputs, stage)
    assert stage.calls == 2
    assert stage.begun == [False, False]


def test_an_interrupted_stage_hears_of_it(tmp_path):
    stage = Work(tmp_path, text=None)
    with pytest.raises(KeyboardInterrupt):
        Ledger(tmp_path).run("one", {"a": 1}, stage)
    stage.text = "x"
    Ledger(tmp_path).run("one", {"a": 1}, stage)
    assert stage.begun == [False, True]


@pytest.mark.parametrize(
    "text", ['{"one": 5}', "[]", '{"one": {"files": []}}', '{"one": {"files": {"out": {}}}}', "{"]
)
def test_a_damaged_ledger_counts_as_empty(tmp_path, text):
    (tmp_path / "stages.json").write_text(text)
    stage = Work(tmp_path)
    Ledger(tmp_path).run("one", {"a": 1}, stage)
    assert stage.calls == 1


def test_the_log_says_what_is_other_than_before(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        Ledger(tmp_path).run("one", {"step": 1, "images": "a"}, Work(tmp_path, text=None))
    set_up_log()
    Ledger(tmp_path).run("one", {"step": 1, "images": "b"}, Work(tmp_path))
    assert "one: other images\n" in capsys.readouterr().err

"""No command line and no record of a run ends in a traceback: failures say why in one line."""

import json

import pytest
from hypothesis import given

from tests.fuzz import command_lines, records
from tests.fuzz.settings import fuzz_settings


@pytest.fixture
def folder(tmp_path, synthetic_dir, monkeypatch):
    """A working directory with the files that command lines speak of."""
    command_lines.write_files(tmp_path, synthetic_dir)
    command_lines.replace_work(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_command_lines(folder):
    @fuzz_settings()
    @given(command_lines.command_lines())
    def search(case):
        command_lines.check(*case)

    nothing_to_do = ("benchmark", "adapt")  # their work is replaced by nothing
    for name, (_, words, _, _) in command_lines.COMMANDS.items():
        assert command_lines.check(name, words) == (2 if name in nothing_to_do else 0), name
    search()


def test_records_of_runs(folder):
    @fuzz_settings()
    @given(records.records())
    def search(case):
        records.check(folder, *case)

    for name, content in records.GOOD.items():
        assert records.check(folder, name, json.dumps(content)) == 0
    search()

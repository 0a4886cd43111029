"""No command line ends in a traceback, and none fails without one line that says why."""

import pytest
from hypothesis import given

from tests.fuzz import command_lines
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

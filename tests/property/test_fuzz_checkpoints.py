"""Checkpoints with anything in them are refused in one line, or are what they were."""

import pytest
from hypothesis import given, settings

from tests.fuzz import checkpoints
from tests.fuzz.settings import EXAMPLES, fuzz_settings

FEWER = max(EXAMPLES // 5, 1)  # a case takes a tenth of a second

# Of a whole file, should a case fail.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fuzz.pth"


@pytest.mark.parametrize("kind", checkpoints.KINDS)
def test_sound_files_are_taken(path, kind):
    assert checkpoints.opened(path, checkpoints.file_of(kind), kind) is not None


def test_damaged_files(path):
    @settings(fuzz_settings(), max_examples=FEWER)
    @given(checkpoints.damaged_files())
    def search(case):
        checkpoints.check_damaged(path, *case)

    search()


def test_wrong_contents(path):
    @settings(fuzz_settings(), max_examples=FEWER)
    @given(checkpoints.wrong_contents())
    def search(data):
        checkpoints.opened(path, data)

    search()


def test_absurd_weights(path):
    @settings(fuzz_settings(), max_examples=FEWER)
    @given(checkpoints.absurd_weights())
    def search(case):
        checkpoints.check_absurd(path, *case)

    search()

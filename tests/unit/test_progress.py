"""What a run says at its end."""

from types import SimpleNamespace

import pytest

from tests.logs import logged
from yolox.engine import progress


@pytest.mark.parametrize(
    ("best_ap", "said"), [(-1, "undefined (no boxes)"), (0.0, "0.0000"), (0.25, "0.2500")]
)
def test_an_ap_that_is_undefined_is_said(monkeypatch, best_ap, said):
    monkeypatch.setattr(progress, "choice_words", lambda run: "on 3 images")
    with logged() as lines:
        progress.log_end(SimpleNamespace(best_ap=best_ap, folder="out"), 0.125, None)
    assert f"best AP {said}" in lines[-1]
    assert "the last one 0.1250" in lines[-1]

"""What a run says at its end."""

from types import SimpleNamespace

import pytest
from loguru import logger

from yolox.engine import progress


@pytest.mark.parametrize(
    ("best_ap", "said"), [(-1, "undefined (no boxes)"), (0.0, "0.0000"), (0.25, "0.2500")]
)
def test_an_ap_that_is_undefined_is_said(monkeypatch, best_ap, said):
    monkeypatch.setattr(progress, "choice_words", lambda run: "on 3 images")
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}")
    progress.log_end(SimpleNamespace(best_ap=best_ap, folder="out"), None)
    logger.remove(sink)
    assert f"best AP {said}" in lines[-1]

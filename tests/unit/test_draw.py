"""Boxes drawn on pictures."""

import numpy as np
import pytest

from yolox.data import draw


@pytest.mark.parametrize(("plate", "dark"), [((60, 230, 230), True), ((120, 20, 30), False)])
def test_letters_stand_out_from_their_plate(monkeypatch, plate, dark):
    monkeypatch.setattr(draw, "class_colour", lambda label: plate)
    grey = np.full((900, 900, 3), 128, np.uint8)
    drawn = draw.draw_boxes(grey, np.array([[20, 80, 800, 800]], np.float32), np.array([0]), ["H"])
    assert (drawn < 20).all(axis=2).any() == dark
    assert (drawn > 235).all(axis=2).any() != dark

"""Pictures in the report."""

import base64

import cv2
import numpy as np
import pytest

from yolox.compress.report.page import PICTURE_WIDTH, _jpeg


@pytest.mark.parametrize(
    ("width", "shown"),
    [(PICTURE_WIDTH // 2, PICTURE_WIDTH // 2), (2 * PICTURE_WIDTH, PICTURE_WIDTH)],
)
def test_large_pictures_are_shown_smaller_and_small_ones_as_they_are(width, shown):
    data = base64.b64decode(_jpeg(np.zeros((40, width, 3), np.uint8)))
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert read.shape[1] == shown

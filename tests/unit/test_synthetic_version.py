"""The synthetic data stay what they are: numbers measured on them can be compared."""

import numpy as np
import pytest

from yolox.data.synthetic import VERSION, SyntheticSpec, draw_image

SPEC = SyntheticSpec(train_images=1, val_images=1, size=128, seed=5)
#: By image of `SPEC`: categories and boxes, and the image's share of four waves. A change of the
#: generator that changes these takes a new VERSION, and new numbers here.
BOXES = {
    1: [(4, 3, 40, 52, 46), (13, 16, 0, 48, 40), (8, 3, 97, 25, 20)],
    2: [(2, 6, 62, 53, 49), (1, 24, 2, 86, 83)],
    3: [(4, 5, 18, 31, 33), (1, 10, 0, 26, 24)],
    4: [(2, 61, 39, 67, 75), (7, 4, 13, 43, 41), (2, 9, 50, 50, 59), (21, 61, 13, 30, 31)],
    5: [(13, 0, 0, 67, 62), (4, 83, 0, 27, 23), (8, 14, 88, 40, 40), (2, 12, 60, 25, 21)],
}
WAVES = {
    1: [1.65, -1.57, 2.81, -1.49],
    2: [2.95, -0.88, 0.08, 0.33],
    3: [-0.85, -1.05, -2.11, -0.06],
    4: [-0.05, 3.08, -3.12, -0.21],
    5: [1.98, 1.59, -0.87, -0.18],
}


def waves(image):
    """[4]: means of the image weighted with cosines of several lengths, a fingerprint in levels."""
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    found = []
    for number in range(4):
        phase = np.array([0.0, 1.0, 2.0]) + number
        angle = 2 * np.pi * (number * x / width + (3 - number) * y / height)
        found.append(float((image * np.cos(angle[..., None] + phase)).mean()))
    return found


@pytest.mark.parametrize("index", BOXES)
def test_images_of_this_version_stay(index):
    assert VERSION == 2
    image, annotations = draw_image(SPEC, "train", index)
    assert [a["category_id"] for a in annotations] == [category for category, *_ in BOXES[index]]
    for annotation, (_, *box) in zip(annotations, BOXES[index], strict=True):
        np.testing.assert_allclose(annotation["bbox"], box, atol=1)  # edges may round otherwise
    np.testing.assert_allclose(waves(image), WAVES[index], atol=0.02)

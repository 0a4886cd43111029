"""Images set aside from the training images, so that choosing and reporting use different ones."""

import numpy as np

from yolox.data.dataset import DetectionDataset
from yolox.errors import UsageError

_STREAM = 3  # of the seed; 0 to 2 are the order, the augmentation and the input size


def set_aside(
    dataset: DetectionDataset, share: float, seed: int
) -> tuple[DetectionDataset, DetectionDataset]:
    """(the rest, a share of the images), by a permutation that depends on the seed alone.

    Raises UsageError where one of the two would be empty.
    """
    count = round(share * len(dataset))
    if not 0 < count < len(dataset):
        raise UsageError(
            f"select_share {share} of {len(dataset)} training images in {dataset.json_path} "
            f"sets {count} aside: at least one has to be on each side"
        )
    order = np.random.default_rng([seed, _STREAM]).permutation(len(dataset)).tolist()
    return dataset.subset(sorted(order[count:])), dataset.subset(sorted(order[:count]))

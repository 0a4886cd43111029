"""The one record that flows through the data layer."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """An image with its targets.

    image: [H, W, 3] uint8, BGR.
    boxes_xyxy: [N, 4] float32, pixels of `image`.
    labels: [N] int64, contiguous class index.
    """

    image: UInt8
    boxes_xyxy: Float32
    labels: Int64

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.image.shape[0], self.image.shape[1]


def channels_first(image: UInt8) -> UInt8:
    """An image or canvas [H, W, 3] as networks read it: [3, H, W], in one piece of memory."""
    planes = np.empty((image.shape[2], *image.shape[:2]), np.uint8)
    cv2.split(image, list(planes))
    return planes

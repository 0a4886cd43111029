"""COCO's 80 detection classes: names, and the category ids of the annotation files (1 to 90)."""

from collections import Counter
from collections.abc import Sequence

COCO_NAMES = (
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
)

_UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(number for number in range(1, 91) if number not in _UNUSED_IDS)


def class_labels(classes: int, names: tuple[str, ...] | None) -> tuple[str, ...]:
    """The names a checkpoint states; else COCO's for 80 classes, else `class 0`, `class 1`, ..."""
    if names is not None:
        return names
    return COCO_NAMES if classes == len(COCO_NAMES) else tuple(f"class {n}" for n in range(classes))


def category_ids(classes: int, ids: tuple[int, ...] | None) -> tuple[int, ...]:
    """The category ids a checkpoint states; else COCO's for 80 classes, else 1, 2, ..."""
    if ids is not None:
        return ids
    return COCO_IDS if classes == len(COCO_IDS) else tuple(range(1, classes + 1))


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names; those that stand several times get their position added, as in `cat [3]`."""
    repeated = {name for name, times in Counter(names).items() if times > 1}
    return tuple(f"{n} [{i}]" if n in repeated else n for i, n in enumerate(names))

"""Images and detections drawn from a known distribution, already matched."""

from dataclasses import dataclass

import numpy as np

from yolox.eval.matches import ImageMatches, Ranked, assemble

THRESHOLDS = np.linspace(0.5, 0.95, 10)[:, None]


@dataclass(frozen=True)
class Setting:
    """A kind of images and a detector.

    skill: of the detector, on a logistic scale; -1 has about 0.07 AP, 0.5 about 0.5, 1.8 about 0.8.
    decay: class frequencies fall as 1 / rank ** decay. clusters: of objects of one class, per image
    in the mean, each of 1.8 objects. false: detections of nothing, per image in the mean.
    difficulty: how much of an object's difficulty is its image's.
    """

    classes: int
    images: int
    skill: float
    decay: float = 0.8
    clusters: float = 1.0
    false: float = 4.0
    difficulty: float = 0.8

    def text(self) -> str:
        """What differs from the defaults is named."""
        usual = Setting(self.classes, self.images, self.skill)
        keys = ("decay", "clusters", "false", "difficulty")
        changed = [key for key in keys if getattr(self, key) != getattr(usual, key)]
        extra = [f"{key} {getattr(self, key):g}" for key in changed]
        return ", ".join([f"{self.classes} classes", f"{self.images} images", *extra])

    def frequencies(self) -> np.ndarray:
        """Of the classes."""
        share = 1 / np.arange(1, self.classes + 1) ** self.decay
        return share / share.sum()


class World:
    """Images with objects in clusters of one class; some images are hard for every detector."""

    def __init__(self, setting: Setting, images: int, rng: np.random.Generator):
        self.setting, self.images = setting, images
        self.hard = rng.normal(size=images)
        image = np.repeat(np.arange(images), rng.poisson(setting.clusters, images))
        label = rng.choice(setting.classes, size=len(image), p=setting.frequencies())
        size = rng.geometric(0.55, len(image))
        self.image, self.label = np.repeat(image, size), np.repeat(label, size)
        self.ease = rng.normal(size=len(self.image))
        self.boxes = np.zeros((images, setting.classes))
        np.add.at(self.boxes, (self.image, self.label), 1)
        self.present = np.flatnonzero(self.boxes.any(axis=0))

    def detect(self, skill: float, rng: np.random.Generator) -> ImageMatches:
        """Detections with overlaps and scores that follow how easy an object is, and false ones."""
        image, label, score, overlap = self._detections(skill, rng)
        order = np.lexsort((-score, label))
        image, label, overlap = image[order], label[order], overlap[order]
        parts = []
        for number in self.present:
            span = slice(*np.searchsorted(label, [number, number + 1]))
            hit = overlap[span] >= THRESHOLDS
            parts.append(Ranked(image[span], hit, np.zeros_like(hit)))
        names = tuple(str(number) for number in self.present)
        return assemble(names, self.boxes[:, self.present], parts)

    def _detections(self, skill: float, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        setting, count = self.setting, len(self.image)
        fixed = np.random.default_rng(123)  # classes differ in the same way in every set
        by_class = fixed.normal(0, 0.5, setting.classes)
        confused = fixed.dirichlet(np.full(setting.classes, 3.0))
        ease = 0.8 * (0.7 * self.ease + 0.7 * rng.normal(size=count))
        ease += skill + by_class[self.label] - 0.7 * setting.difficulty * self.hard[self.image]
        overlap = _logistic(0.9 * ease + 1.0 + 0.5 * rng.normal(size=count))
        score = _logistic(1.3 * ease - 0.8 + 0.8 * rng.normal(size=count))
        seen = np.flatnonzero(rng.random(count) < _logistic(2.0 + 1.2 * ease))
        twice = seen[rng.random(len(seen)) < 0.25]
        false = rng.poisson(setting.false * np.exp(0.4 * self.hard - 0.08))
        false_image = np.repeat(np.arange(self.images), false)
        false_label = rng.choice(
            setting.classes, len(false_image), p=(confused + setting.frequencies()) / 2
        )
        false_score = _logistic(1.3 * rng.normal(size=len(false_image)) - 2.4 - 0.4 * skill)
        lower = score[twice] * rng.uniform(0.05, 0.7, len(twice))
        return (
            np.concatenate([self.image[seen], self.image[twice], false_image]),
            np.concatenate([self.label[seen], self.label[twice], false_label]),
            np.concatenate([score[seen], lower, false_score]),
            np.concatenate([overlap[seen], np.zeros(len(twice) + len(false_image))]),
        )


def _logistic(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))

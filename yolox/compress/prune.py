"""The prune stage: channels are cut as the plan says."""

from dataclasses import dataclass
from pathlib import Path

from yolox.compress.groups import Groups, find_groups, kept_channels
from yolox.compress.job import CompressionJob
from yolox.compress.stage import DENSE, PLAN, Artefact, Artefacts, Source, Stage
from yolox.compress.workspace import Workspace
from yolox.data.annotations import load_json
from yolox.engine.masks import apply_masks
from yolox.errors import UsageError
from yolox.models.channels import compose, cut_channels, cut_masks


@dataclass(frozen=True)
class PruneInputs:
    """What the prune stage is given. exclude: words in the names of groups left alone."""

    source: Source
    plan: Path
    test_size: tuple[int, int]
    exclude: tuple[str, ...]


class PruneStage(Stage):
    """Cut the channels, and the masks likewise.

    Of the masked model where nothing is fitted afterwards; an adaptation fits the dense model's
    weights, and draws masks for what is left of them.
    """

    name = "prune"
    writes = ("pruned.pth",)

    def is_asked(self, job: CompressionJob) -> bool:
        """Where the recipe has `prune`."""
        return job.recipe.prune is not None

    def given(self, job: CompressionJob, found: Artefacts) -> PruneInputs:
        """What is cut, and the plan."""
        step = job.recipe.prune
        assert step is not None
        name = "masked" if "masked" in found and job.recipe.adapt is None else DENSE
        source = Source(name, found[name].path)
        return PruneInputs(source, found[PLAN].path, job.exp.test_size, step.exclude)

    def run(
        self, given: PruneInputs, workspace: Workspace, interrupted: bool
    ) -> dict[str, Artefact]:
        """Writes `pruned.pth`."""
        content, model, _ = workspace.load(given.source.path)
        groups = find_groups(model, given.test_size, given.exclude)
        channels = kept_channels(groups, read_plan(given.plan, groups))
        small = cut_channels(model, channels)
        masks = cut_masks(content.get("masks", {}), model, channels)
        apply_masks(small, masks)
        whole = compose(content.get("channels", {}), channels)
        path = workspace.save("pruned.pth", content, small, masks, whole)
        return {"pruned": Artefact(path, given.source.name)}


def read_plan(path: Path, groups: Groups) -> dict[str, list[int]]:
    """The kept units of a plan file. Raises UsageError where it does not fit the model."""
    known = groups.sizes
    kept = {}
    for entry in load_json(path)["groups"]:
        name = entry["name"]
        if known.get(name) != entry["size"]:
            raise UsageError(f"{path}: group {name} of {entry['size']} is not one of this model's")
        kept[name] = entry["kept"]
    return kept

"""`compress/adapt.py`: pruned and masked checkpoints fitted to the dense one at another size."""

import pytest
import torch

from tests.pipeline.runs import error_line
from tests.tiny_models import Noise
from yolox.cli.adapt import main as adapt_main
from yolox.cli.common import run
from yolox.cli.merge import main as merge_main
from yolox.compress.groups import find_groups, kept_channels
from yolox.compress.importance.weights import magnitude
from yolox.compress.mask import make_masks, maskable_weights
from yolox.compress.planner import Planner
from yolox.compress.steps import PruneStep
from yolox.engine import checkpoint
from yolox.engine.masks import apply_masks
from yolox.engine.restore import restore
from yolox.exp import exp_of_checkpoint
from yolox.families import spec_to_dict
from yolox.models.channels import cut_channels

SIZE = (96, 64)
CPU = ("--device", "cpu")


@pytest.fixture
def pruned(ckpt, tmp_path):
    """Half of the MACs, chosen at random."""
    content, model = checkpoint.read(ckpt), restore(ckpt).model
    groups = find_groups(model, (64, 64))
    generator = torch.Generator().manual_seed(0)
    scores = {g.name: torch.rand(g.size, generator=generator) for g in groups.groups}
    step = PruneStep(macs=0.5, round_to=2)
    channels = kept_channels(groups, Planner(groups, scores, step).within({"macs": 0.5}).kept)
    small = cut_channels(model, channels)
    path = tmp_path / "pruned.pth"
    checkpoint.save(path, {**content, "model": small.state_dict(), "channels": channels})
    return path


@pytest.fixture
def masked(ckpt, tmp_path):
    content, model = checkpoint.read(ckpt), restore(ckpt).model
    masks = make_masks(magnitude(maskable_weights(model)), 0.3)
    apply_masks(model, masks)
    path = tmp_path / "masked.pth"
    checkpoint.save(path, {**content, "model": model.state_dict(), "masks": masks})
    return path


@pytest.fixture
def adapted(tmp_path, ckpt):
    """Run the command; the path of what it writes."""
    target = tmp_path / "out" / "adapted.pth"

    def command(path, *words):
        images = exp_of_checkpoint(ckpt).data_dir + "/train2017"
        words = ["--ckpt", str(path), "--out", str(target.parent), "--images", "6", *words]
        if "--calibration" not in words:
            words += ["--calibration", images]
        return run(adapt_main, [*words, *CPU, "test_size", str(SIZE)])

    command.target = target
    return command


def distance(path, dense):
    """Of class scores from the dense model's, on images of the new size."""
    images = next(Noise(SIZE, 2)())
    with torch.no_grad():
        own, wanted = (restore(p).model.raw(images).cls for p in (path, dense))
    return float((own - wanted).square().mean())


def test_a_pruned_checkpoint_at_another_size(adapted, ckpt, pruned):
    assert adapted(pruned, "--dense", str(ckpt)) == 0
    before, after = checkpoint.read(pruned), checkpoint.read(adapted.target)
    assert after["channels"] == before["channels"]
    assert exp_of_checkpoint(adapted.target).test_size == SIZE
    assert distance(adapted.target, ckpt) < 0.9 * distance(pruned, ckpt)


def test_masks_are_kept(adapted, ckpt, masked):
    assert adapted(masked, "--dense", str(ckpt), "--recalibrate") == 0
    content = checkpoint.read(adapted.target)
    for name, mask in checkpoint.read(masked)["masks"].items():
        assert torch.equal(content["masks"][name], mask)
        assert not content["model"][name][~mask].any()


def test_statistics_alone_need_no_dense_checkpoint(adapted, pruned):
    assert adapted(pruned, "--recalibrate") == 0
    before, after = checkpoint.read(pruned)["model"], checkpoint.read(adapted.target)["model"]
    changed = {key.rsplit(".", 1)[1] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}


def test_constants_alone_need_no_images(adapted, ckpt, pruned, tmp_path, capsys):
    words = ["--dense", str(ckpt), "--no-least-squares", "--calibration", str(tmp_path / "none")]
    assert adapted(pruned, *words) == 0
    assert adapted(ckpt, *words) == 2
    assert "nothing to fold" in error_line(capsys)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "without --dense only --recalibrate is possible"),
        (["--dense", "DENSE", "--no-fold", "--no-least-squares"], 2, "leaves nothing to do"),
        (["--dense", "DENSE", "--ridge", "0"], 2, "ridge 0.0 is not a positive number"),
        (["--dense", "DENSE", "--calibration", "EMPTY"], 3, "holds no image"),
        (["--dense", "/nowhere.pth"], 4, "/nowhere.pth"),
    ],
)
def test_what_cannot_be_done_is_said(adapted, ckpt, pruned, tmp_path, capsys, words, code, said):
    names = {"DENSE": ckpt, "EMPTY": tmp_path / "empty"}
    names["EMPTY"].mkdir()
    assert adapted(pruned, *(str(names.get(word, word)) for word in words)) == code
    assert said in error_line(capsys)
    assert not adapted.target.exists()


def test_another_dense_checkpoint_is_refused(adapted, ckpt, pruned, tmp_path, capsys):
    content = checkpoint.read(ckpt)
    strange = tmp_path / "strange.pth"
    exp = exp_of_checkpoint(ckpt)
    torch.manual_seed(1)
    other = {**content, "model": exp.get_model().state_dict()}
    exp.depth = 0.67
    deeper = {
        **content,
        "model": exp.get_model().state_dict(),
        "spec": spec_to_dict(exp.detector_spec()),
    }
    for dense, said in ((other, "have nothing in common"), (deeper, "another architecture")):
        checkpoint.save(strange, dense)
        assert adapted(pruned, "--dense", str(strange)) == 4
        line = error_line(capsys)
        assert said in line
        assert "strange.pth" in line
    assert adapted(ckpt, "--dense", str(pruned)) == 4  # the wrong way round
    line = error_line(capsys)
    assert "dense.pth was not made from" in line
    assert "pruned.pth" in line
    assert not adapted.target.exists()


def test_merged_checkpoints_are_refused(adapted, ckpt, pruned, tmp_path, capsys):
    assert run(merge_main, ["--ckpt", str(pruned), "--out", str(tmp_path)]) == 0
    merged = tmp_path / "merged.pth"
    capsys.readouterr()
    for path, dense in ((merged, ckpt), (pruned, merged)):
        assert adapted(path, "--dense", str(dense)) == 4
        assert "is merged already" in error_line(capsys)
    assert not adapted.target.exists()

"""The last stage: everything measured, and the report."""

from dataclasses import asdict

from loguru import logger

from yolox.backends import TorchBackend
from yolox.compress.ledger import Files, Ledger
from yolox.compress.lineage import provenance, reported
from yolox.compress.report.measure import MeasureSpec, Stage, measure_checkpoints
from yolox.compress.report.page import Bar, Picture, picture_pairs, write_page
from yolox.compress.report.table import report_content, stage_table
from yolox.compress.workspace import DENSE, PLAN, Workspace
from yolox.data.coco import load_json
from yolox.engine import checkpoint
from yolox.engine.provenance import file_record
from yolox.engine.records import REPORT
from yolox.engine.restore import restore
from yolox.export.open import model_info
from yolox.files import write_json
from yolox.models.fuse import fuse


def evaluate_stage(workspace: Workspace, ledger: Ledger, files: Files) -> list[Stage]:
    """Measure every checkpoint and write `report.json` and `report.html`."""
    job = workspace.job
    how = MeasureSpec(job.options.device, job.backends, job.evaluated, job.resamples)
    stages = measure_checkpoints(reported(workspace, files), job.exp, how)
    facts = {
        "chosen_on": _chosen_on(workspace),
        "recipe": asdict(job.recipe),
        "exp": {"name": job.exp.exp_name, "options": job.exp.options()},
        "checkpoint": file_record(job.ckpt),
        "runs": ledger.notes(),
        **provenance(workspace, files),
    }
    content = report_content(stages, facts)
    write_json(job.out / REPORT, content, indent=2)
    write_page(
        job.out / "report.html", stages, content, _bars(files), _pictures(workspace, files, stages)
    )
    logger.info(
        "report: {}\n{}", job.out / "report.html", stage_table(stages, _chosen_on(workspace))
    )
    return stages


def _chosen_on(workspace: Workspace) -> str | None:
    """In words, on which images epochs and parts were chosen; None without an evaluation."""
    if not workspace.job.evaluated:
        return None
    chosen, shown = workspace.exp.get_select_dataset(), workspace.exp.get_eval_dataset()
    if chosen is None:
        return (
            f"The best epoch and the best part of the adaptation were chosen on the {len(shown)} "
            "images that AP is reported on: on other images AP is likely to be a little lower "
            "(select_ann or select_share keep the two apart)."
        )
    return (
        f"The best epoch and the best part of the adaptation were chosen on {len(chosen)} images "
        f"set aside for it; AP is that of {len(shown)} other images."
    )


def _bars(files: Files) -> list[Bar]:
    """Channels kept of each group, or weights kept of each masked layer."""
    if PLAN in files:
        groups = load_json(files[PLAN])["groups"]
        return [Bar(g["name"], len(g["kept"]), g["size"]) for g in groups]
    masks = checkpoint.read(files["masked"])["masks"]
    return [Bar(name, int(mask.sum()), mask.numel()) for name, mask in masks.items()]


def _pictures(workspace: Workspace, files: Files, stages: list[Stage]) -> list[list[Picture]]:
    """Validation images (the calibration images without an evaluation) as both ends see them."""
    job, exp = workspace.job, workspace.exp
    backends = []
    for name in (DENSE, stages[-1].name):
        restored = restore(files[name], exp.detector_spec())
        backends.append(
            TorchBackend(fuse(restored.model), model_info(restored), job.options.device)
        )
    source = exp.get_eval_dataset() if job.evaluated else workspace.source
    return picture_pairs(source, backends[0], backends[1], exp.test_size)

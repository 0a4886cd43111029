"""The last stage: everything measured, and the report."""

from dataclasses import asdict

from loguru import logger

from compress.flow.job import DENSE, PLAN, Bench, checkpoints
from compress.flow.ledger import Files, Ledger
from compress.flow.measure import Measuring, Stage, measure_stages
from compress.flow.page import Bar, Picture, picture_pairs, write_page
from compress.flow.report import report_content, stage_table
from yolox.backends import TorchBackend
from yolox.data.coco import load_json
from yolox.engine import checkpoint
from yolox.engine.restore import restore
from yolox.export.open import describe
from yolox.files import file_hash, write_json
from yolox.models.fuse import fuse


def evaluate_stage(bench: Bench, ledger: Ledger, files: Files) -> list[Stage]:
    """Measure every checkpoint and write `report.json` and `report.html`."""
    job = bench.job
    how = Measuring(job.options.device, job.backends, job.evaluated, job.resamples)
    stages = measure_stages(checkpoints(files), job.exp, how)
    facts = {
        "recipe": asdict(job.recipe),
        "exp": {"name": job.exp.exp_name, "options": job.exp.options()},
        "checkpoint": {"path": job.ckpt, "sha256": file_hash(job.ckpt)},
        "runs": ledger.notes(),
    }
    content = report_content(stages, facts)
    write_json(job.out / "report.json", content, indent=2)
    write_page(job.out / "report.html", stages, content, _bars(files), _pictures(bench, files))
    logger.info("report: {}\n{}", job.out / "report.html", stage_table(stages))
    return stages


def _bars(files: Files) -> list[Bar]:
    """Channels kept of each group, or weights kept of each masked layer."""
    if PLAN in files:
        groups = load_json(files[PLAN])["groups"]
        return [Bar(g["name"], len(g["kept"]), g["size"]) for g in groups]
    masks = checkpoint.read(files["masked"])["masks"]
    return [Bar(name, int(mask.sum()), mask.numel()) for name, mask in masks.items()]


def _pictures(bench: Bench, files: Files) -> list[list[Picture]]:
    """Validation images (the calibration images without an evaluation) as both ends see them."""
    job, exp = bench.job, bench.exp
    backends = []
    for path in (files[DENSE], list(files.values())[-1]):
        restored = restore(path, exp.detector_spec())
        backends.append(TorchBackend(fuse(restored.model), describe(restored), job.options.device))
    source = exp.get_eval_dataset() if job.evaluated else bench.source
    return picture_pairs(source, backends[0], backends[1], exp.test_size)

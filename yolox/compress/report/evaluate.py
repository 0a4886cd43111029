"""The end of a compression: everything measured, and the report."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from loguru import logger

from yolox.compress.job import CompressionJob
from yolox.compress.report.measure import MeasureSpec, ReportRow, measure_models
from yolox.compress.report.page import Bar, picture_pairs, write_page
from yolox.compress.report.table import report_content, report_table
from yolox.compress.report.words import plain_words
from yolox.compress.stage import CONTROL, DENSE, PLAN, Artefacts, models
from yolox.data.annotations import load_json
from yolox.data.dataset import DetectionDataset
from yolox.engine import checkpoint
from yolox.engine.provenance import data_fingerprint, file_record, git_state, lineage_entry
from yolox.engine.records import REPORT
from yolox.files import write_json


def evaluate(job: CompressionJob, found: Artefacts, runs: Mapping[str, Any]) -> list[ReportRow]:
    """Measure every model and write `report.json` and `report.html`.

    runs: what is noted of the stages.
    """
    how = MeasureSpec(job.options.device, _backends(job), job.evaluated, job.resamples)
    rows, ends = measure_models(_reported(found), job.exp, how)
    chosen_on = _chosen_on(job)
    words = plain_words(rows, tuned=job.recipe.recover is not None)
    facts = {
        "words": words,
        "chosen_on": chosen_on,
        "recipe": asdict(job.recipe),
        "exp": {"name": job.exp.exp_name, "options": job.exp.options()},
        "checkpoint": file_record(job.ckpt),
        "runs": runs,
        **_provenance(job, found),
    }
    content = report_content(rows, facts)
    write_json(job.out / REPORT, content, indent=2)
    page = job.out / "report.html"
    # validation images (the calibration images without an evaluation) as both ends see them
    source = job.exp.get_eval_dataset() if job.evaluated else job.image_source
    pictures = picture_pairs(source, *ends, job.exp.test_size)
    write_page(page, rows, content, _bars(found), pictures)
    logger.info("report: {}\n{}\n{}", page, report_table(rows, chosen_on), "\n".join(words))
    return rows


def _backends(job: CompressionJob) -> tuple[str, ...]:
    """To measure latency with: an INT8 file is compared with float models in its own runtime."""
    own = (job.recipe.int8.runtime,) if job.recipe.int8 is not None and job.backends else ()
    return tuple(dict.fromkeys((*job.backends, *own)))


def _reported(found: Artefacts) -> Artefacts:
    """The models in the order of the rows: dense, control, the others as they were made."""
    others = models(found)
    first = {name: others.pop(name) for name in (DENSE, CONTROL) if name in others}
    return {**first, **others}


def _chosen_on(job: CompressionJob) -> str | None:
    """In words, on which images epochs and parts were chosen; None without an evaluation."""
    if not job.evaluated:
        return None
    chosen, reported = job.exp.get_select_dataset(), job.exp.get_eval_dataset()
    if chosen is None and job.learns_from_pictures:
        return (
            "The best epoch and the best part of the adaptation were chosen by agreement with the "
            f"dense model on pictures without labels; AP is that of {len(reported)} images that "
            "chose nothing."
        )
    if chosen is None:
        return (
            f"The best epoch and the best part of the adaptation were chosen on the {len(reported)}"
            " images that AP is reported on: on other images AP is likely to be a little lower "
            "(select_ann or select_share keep the two apart)."
        )
    return (
        f"The best epoch and the best part of the adaptation were chosen on {len(chosen)} images "
        f"set aside for it; AP is that of {len(reported)} other images."
    )


def _provenance(job: CompressionJob, found: Artefacts) -> dict[str, Any]:
    """What was made from what, of which data, by which code: for `yolox verify`."""
    return {
        "lineage": [
            lineage_entry(name, artefact.path, artefact.made_from)
            for name, artefact in models(found).items()
        ],
        "fingerprints": {role: data_fingerprint(one) for role, one in _data_sets(job).items()},
        "git": git_state(),
    }


def _data_sets(job: CompressionJob) -> dict[str, DetectionDataset]:
    """The labelled data that were used, by their role."""
    found = {}
    calibrates = job.recipe.needs_images and job.calibration is None
    step = job.recipe.recover
    if calibrates or (step is not None and step.needs_labels):
        found["training"] = job.exp.get_dataset()
    if job.evaluated:
        found["validation"] = job.exp.get_eval_dataset()
    return found


def _bars(found: Artefacts) -> list[Bar]:
    """Channels kept of each group, or weights kept of each masked layer, if any."""
    if PLAN in found:
        groups = load_json(found[PLAN].path)["groups"]
        return [Bar(g["name"], len(g["kept"]), g["size"]) for g in groups]
    masks = checkpoint.read(found["masked"].path)["masks"] if "masked" in found else {}
    return [Bar(name, int(mask.sum()), mask.numel()) for name, mask in masks.items()]

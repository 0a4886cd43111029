"""Evaluate a model, or measure its speed."""

from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from loguru import logger

from yolox import dist
from yolox.cli.arguments import require_writable
from yolox.cli.jobs.common import job_size, load_experiment, open_named, set_test_size
from yolox.engine.launch import joined, launch, needs_launch, pick_device
from yolox.errors import UsageError
from yolox.eval.evaluate import Evaluation, evaluate, evaluation_json, without_nan
from yolox.eval.intervals import ap_interval
from yolox.eval.latency import latency_ms, random_images
from yolox.eval.matches import match
from yolox.eval.tables import class_table, interval_lines, latency_line, metrics_table, voc_table
from yolox.eval.voc_ap import INTERPOLATIONS, voc_interval, voc_matches, voc_metrics
from yolox.exp import BaseExp
from yolox.export.graph_size import graph_size
from yolox.export.open import Opened
from yolox.files import write_json
from yolox.models.complexity import Complexity, complexity, describe


def run(args: Namespace, words: list[str]) -> int:
    """Do it. words: of the command line, for the processes of a job. Raises YoloxError."""
    exp = _experiment(args)
    size = job_size(args)
    if needs_launch(size):
        return launch(["-m", "yolox.cli", "eval", *words], size)
    require_writable({"--json": args.json_file, "--results": args.results})
    device = pick_device(args.device)
    if args.seed is not None:
        torch.manual_seed(args.seed)
    with joined(args.dist_backend, device, args.dist_timeout):
        opened = open_named(args, exp, fused=not args.no_fuse)
        backend = opened.backend
        if dist.rank() == 0:
            counted = _size(args, opened, exp.test_size)
            logger.info("model: {}", describe(counted, exp.test_size))
        if args.speed:
            speeds = latency_ms({"model": backend}, random_images(args.batch_size, exp.test_size))
            logger.info("forward: {:.2f} ms per batch of {}", speeds["model"], args.batch_size)
            return 0
        _evaluate(args, exp, opened)
    return 0


def _experiment(args: Namespace) -> BaseExp:
    exp = load_experiment(args, args.ckpt)
    if args.conf is not None:
        exp.test_conf = args.conf
    if args.nms is not None:
        exp.nmsthre = args.nms
    set_test_size(exp, args.tsize)
    if args.test:
        exp.val_ann, exp.val_name = exp.test_ann, exp.test_name
        if args.interval:
            raise UsageError("--interval needs boxes, which the test set does not have")
        if not args.results:
            raise UsageError("--test needs --results FILE: the test set's boxes are not public")
    exp.validate()
    return exp


def _size(args: Namespace, opened: Opened, size_hw: tuple[int, int]) -> Complexity:
    if opened.model is None:
        return graph_size(args.ckpt, size_hw)
    return complexity(opened.model, size_hw)


def _evaluate(args: Namespace, exp: BaseExp, opened: Opened) -> None:
    backend = opened.backend
    options = replace(exp.predict_options(), legacy=args.legacy, progress=dist.rank() == 0)
    batch = max(args.batch_size // dist.world_size(), 1)
    dataset = exp.get_eval_dataset()
    found = evaluate(backend, dataset, exp.test_size, batch, options)
    if found is None:
        return
    estimate = None
    if args.interval:
        estimate = ap_interval(match(found.truth, found.results), args.resamples)
    if not args.test:
        print(metrics_table(found.metrics))
        if estimate is not None:
            print(interval_lines(estimate, found.metrics.images))
        print(class_table(found.metrics))
    voc = _voc(args, found) if args.voc and not args.test else None
    if args.report and not args.test:
        from yolox.eval.report.page import write_evaluation

        write_evaluation(Path(args.report), exp.exp_name, dataset, found)
    where = f"{backend.name} {backend.precision}, {backend.device}"
    print(latency_line(found.latency_ms, batch, where))
    _write(args, exp, opened, found, {**(estimate.as_json() if estimate else {}), **(voc or {})})


def _voc(args: Namespace, found: Evaluation) -> dict[str, Any]:
    """Print the VOC protocol's table; returns what --json says of it."""
    matches = voc_matches(found.truth, found.results)
    metrics = [voc_metrics(matches, points) for points in INTERPOLATIONS]
    print(voc_table(metrics))
    content: dict[str, Any] = {f"voc_{one.points}": without_nan(asdict(one)) for one in metrics}
    if args.interval:
        for points in INTERPOLATIONS:
            estimate = voc_interval(matches, points, args.resamples)
            low, high = estimate.interval
            print(f"95 % interval of AP ({points} recalls): {low:.4f} to {high:.4f}")
            if estimate.warning is not None:
                print(f"warning: {estimate.warning}")
            content[f"voc_{points}"] |= without_nan(estimate.as_json())
    return content


def _write(
    args: Namespace, exp: BaseExp, opened: Opened, found: Evaluation, more: dict[str, Any]
) -> None:
    if args.json_file:
        size = _size(args, opened, exp.test_size)
        content = evaluation_json(found, size, exp.test_size, opened.backend.name)
        content["precision"] = opened.backend.precision
        content.update(more)
        write_json(Path(args.json_file), content, indent=2)
    if args.results:
        write_json(Path(args.results), found.results)

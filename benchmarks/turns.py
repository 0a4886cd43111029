"""Kinds of work in processes of their own that take turns, so that their ratios are fair.

A benchmark is a script that calls `child_turns` where it was started with `--child KIND WORDS...`,
and `median_turns` otherwise.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TURN_SECONDS = 0.3
WARM_UP = 3


def parser_of(doc: str, child_words: int) -> argparse.ArgumentParser:
    """Options of a benchmark against official YOLOX. child_words: how many follow `--child`."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--data", help="a COCO folder with train2017 and val2017")
    parser.add_argument("--official", type=Path, help="folder with official YOLOX")
    parser.add_argument("--child", nargs=child_words)
    return parser


def child_turns(work: Callable[[], object], seconds: float = TURN_SECONDS) -> None:
    """Time a turn of about so many seconds for every line on standard input."""
    for _ in range(WARM_UP):
        start = time.perf_counter()
        work()
    count = max(1, int(seconds / (time.perf_counter() - start)))
    print("ready", flush=True)
    for _ in sys.stdin:
        work()
        start = time.perf_counter()
        for _ in range(count):
            work()
        print(json.dumps((time.perf_counter() - start) * 1000 / count), flush=True)


def with_packages(folder: Path | None) -> dict[str, str]:
    """The environment of a process for which the packages of a folder come first."""
    return {**os.environ, **({"PYTHONPATH": str(folder)} if folder else {})}


def median_turns(
    script: str, kinds: Mapping[str, Path | None], words: Sequence[str], rounds: int
) -> dict[str, float]:
    """Median milliseconds of each kind. kinds: the folder whose packages come first, or None."""
    children = {}
    for kind, packages in kinds.items():
        command = [sys.executable, script, "--child", kind, *words]
        children[kind] = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=with_packages(packages),
        )
        while children[kind].stdout.readline().strip() != "ready":
            if children[kind].poll() is not None:
                raise SystemExit(f"{kind}: exit code {children[kind].returncode}")
    spent = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, process in children.items():
            process.stdin.write("\n")
            process.stdin.flush()
            spent[kind].append(json.loads(process.stdout.readline()))
    for process in children.values():
        process.stdin.close()
        process.wait()
    return {kind: statistics.median(values) for kind, values in spent.items()}

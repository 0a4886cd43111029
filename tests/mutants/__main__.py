"""Make a sample of mutants and say which of them the tests notice.

    make mutants                                # the usual sample of all packages
    python -m tests.mutants --size 10 --packages yolox/families yolox/eval
    python -m tests.mutants --tests tests/unit/test_loss.py --packages yolox/families

All happens in a temporary copy of the working tree, whose tests are first run once to see which
lines each of them runs (that takes longest; `--map FILE` keeps it for the next time).
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.mutants.coverage import CoverageMap, LineRecorder, Records
from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.trial import in_child, noticed_by, preload, run_tests
from tests.mutants.walk import Mutant, mutants

PACKAGES = ["yolox/families", "yolox/engine", "yolox/data", "yolox/eval", "yolox/compress"]
TESTS = ["tests/unit", "tests/property", "tests/golden", "tests/pipeline"]
COPY = "YOLOX_MUTANTS_COPY"  # set in the process that works in the copy: names its parent folder
MAP_SECONDS = 4 * 3600.0


def main() -> int:
    """Parse the command line; start again inside a copy of the working tree, then work there."""
    options = _parser().parse_args()
    for key in ("map", "json"):
        value = getattr(options, key)
        setattr(options, key, value and Path(value).resolve())
    if COPY in os.environ:
        return _work(options, Path(os.environ[COPY]))
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        root = _copy(folder)
        (folder / "tmp").mkdir()
        shared = Path.cwd().parent / "shared"
        extra = {
            COPY: name,
            "PYTHONPATH": os.pathsep.join([str(root), *_others()]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": f"{name}/tmp",
        }
        for key, child in (("YOLOX_SAMPLES", "samples"), ("YOLOX_GOLDEN", "golden")):
            extra[key] = os.environ.get(key, str(shared / child))
        words = [sys.executable, "-m", "tests.mutants", *_absolute(options)]
        return subprocess.run(words, cwd=root, env={**os.environ, **extra}, check=False).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--size", type=int, default=25, help="mutants of each package")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--packages", nargs="+", default=PACKAGES)
    parser.add_argument("--tests", nargs="+", default=TESTS)
    parser.add_argument("--seconds", type=float, default=60.0, help="of tests for each mutant")
    parser.add_argument("--map", help="JSON of lines by test, kept for the next time")
    parser.add_argument("--json", help="write what was found")
    parser.add_argument("--only", nargs="+", help="FILE:LINE: all mutants of these lines instead")
    parser.add_argument("--list", action="store_true", help="name the sample, run nothing")
    return parser


def _absolute(options: argparse.Namespace) -> list[str]:
    """The command line again, with absolute paths."""
    words = []
    for key, value in vars(options).items():
        if value is None or value is False:
            continue
        values = value if isinstance(value, list) else [] if value is True else [value]
        words += [f"--{key}", *map(str, values)]
    return words


def _others() -> list[str]:
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [path for path in paths if path and Path(path).resolve() != Path.cwd()]


def _copy(folder: Path) -> Path:
    """What git knows of the working tree, and new files that it does not ignore."""
    root = folder / "tree"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if Path(name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, root / name)
    return root


def _work(options: argparse.Namespace, folder: Path) -> int:
    sample = _sample(options)
    if options.list:
        print("\n".join(map(str, sample)))
        return 0
    preload()
    known = _recorded(options, folder)
    rows = []
    for number, mutant in enumerate(sample, start=1):
        tests, seconds = known.tests_for(mutant, options.seconds)
        start = time.monotonic()
        by = noticed_by(mutant, tests, seconds, folder) if tests else None
        spent = time.monotonic() - start
        word = f"SURVIVED {len(tests)} tests" if by is None else f"noticed by {by}"
        print(f"{number}/{len(sample)} {word} ({spent:.0f} s) {mutant}", flush=True)
        rows.append(
            {
                "package": _package(mutant, options.packages),
                "mutant": str(mutant),
                "noticed": by is not None,
                "by": by,
                "tests": len(tests),
                "seconds": round(spent, 1),
            }
        )
    _report(rows, options)
    return 0


def _sample(options: argparse.Namespace) -> list[Mutant]:
    """`size` mutants of each package, the same for the same code and seed."""
    found = []
    for package in options.packages:
        known = [
            mutant
            for path in sorted(Path(package).rglob("*.py"))
            for mutant in mutants(path.as_posix(), path.read_text())
            if (mutant.file, mutant.before, mutant.after) not in EQUIVALENT
        ]
        if options.only:
            found += [m for m in known if f"{m.file}:{m.line}" in options.only]
            continue
        drawn = random.Random(f"{options.seed} {package}").sample(
            known, min(options.size, len(known))
        )
        found += sorted(drawn, key=lambda m: (m.file, m.line))
    return found


def _recorded(options: argparse.Namespace, folder: Path) -> CoverageMap:
    """What is known of the tests; those that are not are run, recorded, one file at a time.

    Tests that fail without any fault are named and left out.
    """
    packages = sorted({*PACKAGES, *options.packages})
    records = Records(options.map or folder / "map.json", packages)
    missing = records.missing(options.tests)
    for number, file in enumerate(missing, start=1):

        def record(file: str = file) -> int:
            recorder = LineRecorder(Path.cwd(), packages)
            run_tests([file], folder, recorder)
            records.add(file, recorder.passed())
            failed = f"; failed: {', '.join(recorder.failed)}" if recorder.failed else ""
            print(f"{len(recorder.passed())} tests recorded{failed}")
            return 0

        code = in_child(record, MAP_SECONDS, folder / "map.txt")
        said = (folder / "map.txt").read_text(errors="replace").splitlines() or [
            f"exit code {code}"
        ]
        print(f"{number}/{len(missing)} {file}: {said[-1]}", flush=True)
        records.read()
    return CoverageMap(records.of(options.tests))


def _package(mutant: Mutant, packages: list[str]) -> str:
    return next(package for package in packages if mutant.file.startswith(f"{package}/"))


def _report(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    print("\n| package | mutants | noticed | share |\n|---|---|---|---|")
    total, noticed = (Counter(r["package"] for r in chosen) for chosen in _both(rows))
    for package in options.packages:
        share = noticed[package] / max(total[package], 1)
        print(f"| {package} | {total[package]} | {noticed[package]} | {share:.0%} |")
    share = noticed.total() / max(total.total(), 1)
    print(f"| all (seed {options.seed}) | {total.total()} | {noticed.total()} | {share:.1%} |")
    survivors = [row for row in rows if not row["noticed"]]
    for row in survivors:
        print(f"{row['mutant']}  ({row['tests']} tests)")
    if options.json:
        content = {
            "seed": options.seed,
            "size": options.size,
            "share": share,
            "packages": {p: [noticed[p], total[p]] for p in options.packages},
            "mutants": rows,
        }
        options.json.write_text(json.dumps(content, indent=1))


def _both(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    yield rows
    yield [row for row in rows if row["noticed"]]


if __name__ == "__main__":
    sys.exit(main())

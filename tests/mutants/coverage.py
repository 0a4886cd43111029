"""Which lines each test runs, and the processor time it takes: collected in one run."""

import hashlib
import json
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Generator, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.mutants.walk import Mutant

Lines = dict[str, set[int]]  # file -> lines
#: Code that runs in processes of its own, which are not recorded, and the tests that start these.
IN_JOBS = {"yolox/engine/launch.py": "tests/pipeline/test_processes.py"}


class LineRecorder:
    """A pytest plugin. What a shared fixture runs counts for every test that uses the fixture."""

    def __init__(self, root: Path, packages: Iterable[str]):
        self._starts = tuple(f"{root / package}/" for package in packages)
        self._cut = len(str(root)) + 1
        self._lines: Lines = defaultdict(set)
        self._fixtures: dict[Any, Lines] = {}
        self.tests: dict[str, dict[str, Any]] = {}
        self.failed: set[str] = set()

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(self._starts) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._lines[frame.f_code.co_filename[self._cut :]].add(frame.f_lineno)
        return self._line

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        """Lines of fixtures that serve several tests are kept apart."""
        if fixturedef.scope == "function":
            return (yield)
        outer, self._lines = self._lines, defaultdict(set)
        try:
            return (yield)
        finally:
            _merge(self._fixtures.setdefault(fixturedef, defaultdict(set)), self._lines)
            self._lines = outer

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Generator[None, Any, Any]:
        """Record one test."""
        self._lines = defaultdict(set)
        start = _cpu_seconds()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            for definitions in item._fixtureinfo.name2fixturedefs.values():
                for definition in definitions:
                    _merge(self._lines, self._fixtures.get(definition, {}))
            self.tests[item.nodeid] = {
                "seconds": round(_cpu_seconds() - start, 3),
                "lines": {file: sorted(lines) for file, lines in self._lines.items()},
            }

    def passed(self) -> dict[str, dict[str, Any]]:
        """The recorded tests that did not fail."""
        return {test: record for test, record in self.tests.items() if test not in self.failed}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test that fails without a fault says nothing about one."""
        if report.failed:
            self.failed.add(report.nodeid)


def _cpu_seconds() -> float:
    """Of this process and the children that have ended: other jobs on the machine do not count."""
    return sum(os.times()[:4])


def _merge(into: Lines, more: Lines) -> None:
    for file, lines in more.items():
        into[file] |= lines


class Records:
    """A file of recorded tests, valid for one state of the code and of each test file."""

    def __init__(self, path: Path, packages: Iterable[str]):
        sources = [file for package in packages for file in sorted(Path(package).rglob("*.py"))]
        self._path, self._code = path, _digest(sources)
        self.read()

    def read(self) -> None:
        """What the file holds now; nothing where the code has changed since."""
        known = json.loads(self._path.read_text()) if self._path.is_file() else {}
        if known.get("code") != self._code:
            known = {"code": self._code, "files": {}, "tests": {}}
        self._content = known

    def missing(self, tests: Iterable[str]) -> list[str]:
        """The test files below these paths that are new or have changed."""
        files = [f for test in tests for f in _test_files(Path(test))]
        return [str(f) for f in files if self._content["files"].get(str(f)) != _digest([f])]

    def add(self, file: str, tests: dict[str, dict[str, Any]]) -> None:
        """Take over what was recorded of a test file, instead of what was known of it."""
        before = {k: v for k, v in self._content["tests"].items() if _file(k) != file}
        self._content["tests"] = {**before, **tests}
        self._content["files"][file] = _digest([Path(file)])
        self._path.write_text(json.dumps(self._content))

    def of(self, tests: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The recorded tests of the files below these paths."""
        files = {str(f) for test in tests for f in _test_files(Path(test))}
        return {k: v for k, v in self._content["tests"].items() if _file(k) in files}


def _digest(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _test_files(path: Path) -> list[Path]:
    return sorted(path.rglob("test_*.py")) if path.is_dir() else [path]


def _file(test: str) -> str:
    return test.split("::")[0]


class CoverageMap:
    """The recorded tests, asked for those that run a mutant's lines."""

    def __init__(self, tests: dict[str, dict[str, Any]]):
        self._by_file: dict[str, list[tuple[float, str, set[int]]]] = defaultdict(list)
        self._seconds = {test: record["seconds"] for test, record in tests.items()}
        for test, record in tests.items():
            for file, lines in record["lines"].items():
                self._by_file[file].append((record["seconds"], test, set(lines)))

    def tests_for(self, mutant: Mutant, most_seconds: float) -> tuple[list[str], float]:
        """The quickest tests that run it, the first of them in any case, and their seconds.

        Code outside functions runs when a file is imported: then all tests of the file count.
        """
        rows = self._by_file[mutant.file]
        if mutant.scope is None:
            covering = rows
        elif mutant.lines[0] >= mutant.scope[0]:
            covering = [row for row in rows if row[2] & _range(mutant.lines)]
        else:  # a default value
            covering = [row for row in rows if row[2] & _range(mutant.scope)]
        found = sorted((seconds, test) for seconds, test, _ in covering)
        if not found:
            jobs = IN_JOBS.get(mutant.file)
            found = sorted((s, test) for test, s in self._seconds.items() if _file(test) == jobs)
        chosen, total = [], 0.0
        for seconds, test in found:
            if chosen and total + seconds > most_seconds:
                break
            chosen.append(test)
            total += seconds
        return chosen, total


def _range(lines: tuple[int, int]) -> set[int]:
    return set(range(lines[0], lines[1] + 1))

"""Commands of the toolkit, run one after another with their words in a log."""

import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_command(log: Path, script: str, *words: object) -> float:
    """Run `script WORDS`; its output goes to the end of a file. Returns seconds of processor time.

    Raises CalledProcessError where it fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with log.open("a") as file:
        command = [sys.executable, str(ROOT / script), *map(str, words)]
        subprocess.run(command, check=True, stdout=file, stderr=file)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def option_words(options: dict[str, object]) -> list[str]:
    """KEY VALUE words of an experiment's options."""
    return [str(word) for pair in options.items() for word in pair]

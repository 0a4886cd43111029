"""Files that are written whole or not at all, and their hashes."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file atomically; its folder is made where it is absent."""
    write_text(path, json.dumps(content, indent=indent))


def write_text(path: Path, content: str) -> None:
    """Write a text file atomically; its folder is made where it is absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        work.write_text(content, encoding="utf-8")
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)


def text_hash(content: Any) -> str:
    """SHA-256 of a value's JSON with sorted keys: equal values have equal hashes."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

"""What a checkpoint file would ask for, found out before torch loads it.

torch's loader believes a file: it makes tensors of any size that the file states. Here the pickle
is read with stand-ins that only note sizes. Nothing in it is called, and no tensor is made.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from yolox.errors import ModelError
from yolox.limits import over_limit

ZIP = b"PK\x03\x04"
LEGACY = b"\x80"  # a pickle: the format of torch before 1.6
LEGACY_HEADERS = 3  # magic number, protocol and system, each a pickle, stand before the content
ITEM_BYTES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}
DAMAGE = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


def inspect(path: Path) -> None:
    """Raises ModelError for a file that would run code, is damaged, or asks for too much memory."""
    if not path.is_file():
        raise ModelError(f"checkpoint {path} does not exist")
    try:
        with path.open("rb") as file:
            start = file.read(len(ZIP))
        if start == ZIP:
            _inspect_zip(path)
        elif start.startswith(LEGACY):
            _inspect_legacy(path)
        else:
            raise ModelError(f"checkpoint {path} is not a checkpoint, or its beginning is damaged")
    except DAMAGE as error:
        raise ModelError(damaged(path, error)) from error


def require_checksums(path: Path) -> None:
    """Compare the CRC-32 that a zip archive holds of every record, which torch does not look at.

    Raises ModelError naming the file. The format of torch before 1.6 has none.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except DAMAGE as error:
        raise ModelError(damaged(path, error)) from error
    if bad is not None:
        raise ModelError(f"checkpoint {path} is damaged: the checksum of {bad} does not fit")


def damaged(path: str | Path, error: BaseException) -> str:
    """The message for a file that cannot be read, in one line."""
    reason = str(error).split(". ")[0].split("\n")[0].strip()
    return f"checkpoint {path} is damaged: {reason or type(error).__name__}"


def _inspect_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                raise ModelError(
                    f"checkpoint {path} is refused: {entry.filename} is compressed, torch does "
                    "not write so"
                )
        total = sum(entry.file_size for entry in entries)
        _require_few_bytes(path, total)
        if total > path.stat().st_size:
            raise ModelError(f"checkpoint {path} is refused: its records overlap")
        names = [e.filename for e in entries if e.filename.endswith("/data.pkl")]
        if len(names) != 1:
            raise ModelError(f"checkpoint {path} is damaged: it has {len(names)} records data.pkl")
        folder = names[0].removesuffix("data.pkl") + "data/"
        records = {
            entry.filename.removeprefix(folder): entry.file_size
            for entry in entries
            if entry.filename.startswith(folder)
        }
        pickled = io.BytesIO(archive.read(names[0]))
    scan = _Scanner(pickled, path)
    scan.load()
    for key, storage in scan.storages.items():
        if storage.bytes > records[key]:
            raise ModelError(
                f"checkpoint {path} is damaged: record {key} holds {records[key]} bytes, "
                f"{storage.bytes} are stated"
            )


def _inspect_legacy(path: Path) -> None:
    _require_few_bytes(path, path.stat().st_size)
    file = io.BytesIO(path.read_bytes())
    for _ in range(LEGACY_HEADERS):
        _Scanner(file, path).load()
    scan = _Scanner(file, path)
    scan.load()
    if sum(storage.bytes for storage in scan.storages.values()) > path.stat().st_size:
        raise ModelError(f"checkpoint {path} is damaged: it states more bytes than it has")


def _require_few_bytes(path: Path, total: int) -> None:
    reason = over_limit("MAX_CHECKPOINT_BYTES", total)
    if reason:
        raise ModelError(f"checkpoint {path} is refused: unpacked bytes: {reason}")


@dataclass(frozen=True)
class _Storage:
    """What a file states of one block of numbers."""

    count: int
    bytes: int


class _StandIn:
    """Takes the place of an object that does not matter here."""

    def __init__(self, *values: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Scanner(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """Reads a pickle of tensors and plain values, and notes sizes.

    Python's own unpickler, not the one in C, whose memory grows with any index that a file names.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]
    del dispatch[pickle.BYTEARRAY8[0]]  # takes memory first, and torch never writes it

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: io.BytesIO, path: Path):
        super().__init__(file)
        self._path = path
        self.storages: dict[str, _Storage] = {}
        self._bytes = 0  # of all tensors, which may share storages

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for what torch writes; everything else is refused."""
        known: dict[tuple[str, str], Callable[..., Any] | type] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_sparse_tensor"): self._sparse,
            ("torch._utils", "_rebuild_parameter"): _StandIn,
            ("torch.serialization", "_get_layout"): _StandIn,
            ("torch", "Size"): tuple,
            ("torch", "device"): _StandIn,
            ("_codecs", "encode"): _StandIn,
            ("numpy", "dtype"): _StandIn,
            ("numpy.core.multiarray", "scalar"): _StandIn,
            ("numpy._core.multiarray", "scalar"): _StandIn,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in ITEM_BYTES:
            return name
        raise ModelError(
            f"checkpoint {self._path}: refused, it would run code when loaded "
            f"(it names {module}.{name})"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        """A block of numbers that the pickle refers to."""
        what, kind, key, _, count, *_ = pid
        if what != "storage" or not _is_size(count):
            raise ValueError(f"{pid!r:.80} is no block of numbers")
        storage = _Storage(count, count * ITEM_BYTES[kind])
        self.storages[str(key)] = storage
        return storage

    def load_setitem(self) -> None:
        """One key and value. Keys that torch does not write may take for ever to compare."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set(key, value)

    def load_setitems(self) -> None:
        """Several keys and values."""
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(key, value)

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems

    def _set(self, key: Any, value: Any) -> None:
        if not isinstance(key, str | int | float):
            raise TypeError(f"a key is of type {type(key).__name__}")
        self.stack[-1][key] = value

    def _tensor(self, storage: _Storage, offset: int, size: Any, stride: Any, *_: Any) -> _StandIn:
        count = _product(size)
        if not _is_size(offset) or len(stride) != len(size) or not all(map(_is_size, stride)):
            raise ValueError("the place of a tensor is no number")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if count and (count > storage.count or last >= storage.count):
            raise ValueError(f"a tensor of shape {tuple(size)} is larger than what is stored")
        self._bytes += count * storage.bytes // max(storage.count, 1)
        _require_few_bytes(self._path, self._bytes)
        return _StandIn()

    def _sparse(self, layout: Any, parts: Any) -> _StandIn:
        _, _, size, *_ = parts
        reason = over_limit("MAX_PARAMETERS", _product(size))
        if reason:
            raise ModelError(
                f"checkpoint {self._path} is refused: a sparse tensor of shape {tuple(size)}: "
                f"{reason}"
            )
        return _StandIn()


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _product(size: Sequence[Any]) -> int:
    if not all(map(_is_size, size)):
        raise ValueError(f"shape {size!r:.80} is no shape")
    return math.prod(size)

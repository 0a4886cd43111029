"""What a file would ask for is known before torch loads it; a changed bit is noticed."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch

from yolox.engine import archive, checkpoint
from yolox.errors import ModelError
from yolox.families import build, spec_to_dict
from yolox.families.yolox import YoloxSpec

SPEC = YoloxSpec(num_classes=3, depth=0.33, width=0.125)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "small.pth"
    state = build(SPEC).state_dict()
    checkpoint.save(path, {"model": state, "spec": spec_to_dict(SPEC), "best_ap": 0.5})
    return path


def rewritten(path, change, compression=zipfile.ZIP_STORED):
    """The archive with its records changed, checksums made anew."""
    with zipfile.ZipFile(path) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, data in change(records).items():
            new.writestr(name, data)


def places_of_data(path, count):
    """Offsets within the records of tensors, evenly spread."""
    with zipfile.ZipFile(path) as opened:
        entries = [entry for entry in opened.infolist() if "/data/" in entry.filename]
    found = []
    data = path.read_bytes()
    for entry in entries[:: max(len(entries) // count, 1)]:
        at = entry.header_offset
        name, extra = (int.from_bytes(data[at + k : at + k + 2], "little") for k in (26, 28))
        found.append(at + 30 + name + extra + entry.file_size // 2)
    return found


@pytest.mark.parametrize("hashed", [True, False])
def test_every_flipped_bit_of_a_weight_is_noticed(saved, hashed):
    if not hashed:  # as YOLOX writes them
        torch.save({"model": build(SPEC).state_dict()}, saved)
    data = saved.read_bytes()
    for place in places_of_data(saved, 12):
        saved.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ModelError, match=r"small\.pth is damaged"):
            checkpoint.read(saved)


def test_a_changed_value_is_noticed_whatever_the_checksums_say(saved):
    def change(records):
        return {k: v.replace(b"best_ap", b"worstap") for k, v in records.items()}

    rewritten(saved, change)
    with pytest.raises(ModelError, match="its content does not fit its sha256"):
        checkpoint.read(saved)


def test_a_zip_bomb_is_refused(saved):
    rewritten(saved, lambda records: records, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="is compressed, torch does not write so"):
        checkpoint.read(saved)


def test_more_bytes_than_the_limit_are_refused(saved, monkeypatch):
    monkeypatch.setenv("YOLOX_MAX_CHECKPOINT_BYTES", "1e5")
    with pytest.raises(ModelError, match=r"unpacked bytes: .* .set YOLOX_MAX_CHECKPOINT_BYTES"):
        checkpoint.read(saved)


def test_a_record_that_is_too_short_is_refused_before_torch_reads_past_it(saved):
    def shorten(records):
        return {k: v[:4] if "/data/" in k else v for k, v in records.items()}

    rewritten(saved, shorten)
    with pytest.raises(ModelError, match=r"4 bytes, .* are stated"):
        checkpoint.read(saved)


class Tensors:
    """A pickle that builds a tensor of any size on one stored number."""

    def __init__(self, size, stride):
        self.size, self.stride = size, stride

    def pickled(self):
        return (
            b"\x80\x02}X\x05\x00\x00\x00modelctorch._utils\n_rebuild_tensor_v2\n("
            b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
            b"K\x01tQK\x00" + self._tuple(self.size) + self._tuple(self.stride) + b"\x89)tRs."
        )

    @staticmethod
    def _tuple(values):
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"


@pytest.mark.parametrize(
    ("size", "stride"),
    [
        ([10**11], [1]),  # torch would enlarge the stored number to 400 GB
        ([10**6, 10**6], [0, 0]),
        ([-1], [1]),
        ([1], [-1]),
        ([2], [10**9]),
    ],
)
def test_a_tensor_larger_than_what_is_stored_is_refused(tmp_path, size, stride):
    path = tmp_path / "large.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("large/data.pkl", Tensors(size, stride).pickled())
        file.writestr("large/data/0", bytes(4))
        file.writestr("large/version", b"3\n")
    with pytest.raises(
        ModelError, match=r"large\.pth is damaged: (a tensor of shape|shape|the pl)"
    ):
        checkpoint.read(path)


def test_sparse_shapes_are_limited(tmp_path):
    path = tmp_path / "coo.pth"
    huge = torch.sparse_coo_tensor(
        torch.zeros(4, 1).long(), torch.ones(1), (10**4,) * 4, check_invariants=True
    )
    torch.save({"sparse": {"encoding": "coo", "tensors": {"a": huge}}}, path)
    with pytest.raises(ModelError, match=r"sparse tensor of shape .* more than 500,000,000"):
        checkpoint.read(path)


def test_the_format_before_torch_1_6_is_read(tmp_path):
    path = tmp_path / "old.pth"
    state = build(SPEC).state_dict()
    torch.save(
        {"model": state, "best_ap": np.float64(0.25)}, path, _use_new_zipfile_serialization=False
    )
    content = checkpoint.read(path)
    assert content["best_ap"] == 0.25
    assert all(torch.equal(value, content["model"][key]) for key, value in state.items())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="damaged"):
        checkpoint.read(path)


def test_pickles_that_would_take_memory_or_time_are_refused(tmp_path):
    path = tmp_path / "bomb.pth"
    nested_key = b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s."  # 2^60 parts to hash
    for data in (nested_key, pickle.dumps(bytearray(10), protocol=5)):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("bomb/data.pkl", data)
        with pytest.raises(ModelError, match=r"bomb\.pth"):
            archive.inspect(path)


def test_values_nested_without_end_are_refused(tmp_path):
    ring = []
    ring.append(ring)
    path = tmp_path / "ring.pth"
    buffer = io.BytesIO()
    torch.save({"model": {}, "sha256": "0", "ring": ring}, buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ModelError, match="nested without end"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    ],
)
def test_tensors_of_every_type_are_read_back(tmp_path, dtype):
    path, kept = tmp_path / "typed.pth", torch.tensor([0, 1, 3, 1]).to(dtype)
    checkpoint.save(path, {"model": {"w": torch.ones(1)}, "kept": {"w": kept}})
    found = checkpoint.read(path)["kept"]["w"]
    assert found.dtype is dtype
    assert torch.equal(found, kept)


def test_numbers_of_numpy_have_the_hash_of_those_that_are_read_back(tmp_path):
    path = tmp_path / "numbers.pth"
    numbers = {"a": np.float32(0.5), "b": np.float64(0.25)}
    checkpoint.save(path, {"model": {"w": torch.ones(1)}, "numbers": numbers})
    found, carried = checkpoint.read_hashed(path)
    assert carried
    assert found["numbers"] == numbers

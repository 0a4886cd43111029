"""CRC-32C (Castagnoli; RFC 3720, appendix B.4) of large blocks, and TensorFlow's masked form.

The block is cut into lanes of equal length, which numpy steps through side by side; the lanes'
sums are then joined in pairs. 100 MB take about a second.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

UInt32 = npt.NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78  # reflected
_ALL = 0xFFFFFFFF
_MASK_DELTA = 0xA282EAD8  # TFRecord: a sum of data that holds sums is not one of its values
_LANES = (16, 128)  # bytes, for blocks of up to _MIDDLE bytes and longer ones
_SHORT, _MIDDLE = 128, 8192  # bytes; up to _SHORT, one loop is faster


def masked_crc32c(data: bytes) -> int:
    """The sum as TFRecord files hold it."""
    plain = crc32c(data)
    return ((plain >> 15 | plain << 17) + _MASK_DELTA) & _ALL


def crc32c(data: bytes) -> int:
    """The sum of some bytes."""
    return _by_lanes(data) if len(data) > _SHORT else _by_bytes(data)


def _by_bytes(data: bytes) -> int:
    table, state = _table_as_list(), _ALL
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ _ALL


def _by_lanes(data: bytes) -> int:
    length = _LANES[len(data) > _MIDDLE]
    lanes = 1 << (-(-len(data) // length) - 1).bit_length()
    block = np.zeros(lanes * length, np.uint8)  # zeros in front change no sum that begins with 0
    start = len(block) - len(data)
    block[start:] = np.frombuffer(data, np.uint8)
    block[start : start + 4] ^= 0xFF  # which is to begin with all ones
    columns = np.ascontiguousarray(block.reshape(lanes, length).T)
    table = _table()
    states = np.zeros(lanes, np.uint32)
    for column in columns:
        states = table[(states ^ column) & 0xFF] ^ (states >> 8)
    span = length
    while len(states) > 1:
        states = _behind_zeros(states[0::2], span) ^ states[1::2]
        span *= 2
    return int(states[0]) ^ _ALL


@cache
def _table() -> UInt32:
    """The sum of each byte."""
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, values >> 1 ^ np.uint32(_POLYNOMIAL), values >> 1)
    return values.astype(np.uint32)


@cache
def _table_as_list() -> list[int]:
    return [int(value) for value in _table()]


def _behind_zeros(states: UInt32, count: int) -> UInt32:
    """The states after so many zero bytes more; the count is a power of two."""
    first, second, third, fourth = _zeros(count)
    low = first[states & 0xFF] ^ second[states >> 8 & 0xFF]
    moved: UInt32 = low ^ third[states >> 16 & 0xFF] ^ fourth[states >> 24]
    return moved


@cache
def _zeros(count: int) -> UInt32:
    """[4, 256]: what so many zero bytes make of each value of each byte of a state.

    The map is linear, so that its square is what twice as many zeros make.
    """
    if count > 1:
        return _behind_zeros(_zeros(count // 2), count // 2)
    values = np.arange(256, dtype=np.uint32)
    states = np.stack([values << np.uint32(8 * place) for place in range(4)])
    moved: UInt32 = _table()[states & 0xFF] ^ states >> np.uint32(8)
    return moved

"""CRC-32C against published values and a plain loop."""

import numpy as np
import pytest

from yolox.data.formats.crc32c import crc32c, masked_crc32c


@pytest.mark.parametrize(
    ("data", "wanted"),
    [  # RFC 3720, B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_published_values(data: bytes, wanted: int) -> None:
    assert crc32c(data) == wanted


@pytest.mark.parametrize("length", [1, 3, 4, 127, 128, 129, 255, 2047, 8191, 8192, 8193, 70001])
def test_lanes_give_what_a_loop_gives(length: int) -> None:
    data = np.random.default_rng(length).integers(0, 256, length, np.uint8).tobytes()
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    assert crc32c(data) == state ^ 0xFFFFFFFF


def test_the_masked_sum_of_a_record() -> None:
    crc = crc32c(b"data")
    assert masked_crc32c(b"data") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

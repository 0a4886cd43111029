"""Augmentation in one step gives the picture and the boxes of its plain form."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from yolox.config import AugmentSpec
from yolox.data.augment import (
    PAD_VALUE,
    AffineDraw,
    affine_matrix,
    draw_affine,
    fit_ratio,
    resize_to_fit,
    scaled_size,
    warp,
)
from yolox.data.image import StoredImage, read_image
from yolox.data.mosaic import MixupDraw, draw_centre, draw_mixup, mixup, mosaic
from yolox.data.sample import Sample
from yolox.data.tiles import Tile, mixed_up, warped_mosaic, whole_tile
from yolox.errors import DataError

SIZE = (96, 128)
FILES = [(80, 120), (300, 200), (1000, 1400), (97, 131), (20, 30)]


def smooth(height, width, seed):
    """Colours that change slowly: however they are interpolated, they stay nearly the same."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Images as files: JPEGs of many sizes, one of them turned by its EXIF block, and a PNG."""
    folder = tmp_path_factory.mktemp("tiles")
    paths = []
    for number, size in enumerate(FILES):
        path = folder / f"{number}.jpg"
        cv2.imwrite(str(path), smooth(*size, number), [cv2.IMWRITE_JPEG_QUALITY, 98])
        paths.append(path)
    turned = Image.fromarray(smooth(150, 260, 9))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif, quality=98)
    cv2.imwrite(str(folder / "plain.png"), smooth(90, 400, 8))
    return [*paths, folder / "turned.jpg", folder / "plain.png"]


def both(path, seed):
    """An image as a tile and as a sample, with the same boxes."""
    file = StoredImage(path)
    height, width = file.size_hw
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.7, (3, 2)) * [width, height]
    boxes = np.concatenate([low, low + rng.uniform(3, 0.3 * width, (3, 2))], axis=1)
    boxes, labels = boxes.astype(np.float32), rng.integers(0, 5, 3)
    ratio = fit_ratio(file.size_hw, SIZE)
    size = scaled_size(file.size_hw, ratio)
    tile = Tile(size, boxes * np.float32(ratio), labels, ratio, file.pixels)
    sample = resize_to_fit(Sample(file.pixels(), boxes, labels), SIZE)
    assert sample.size_hw == size
    return tile, sample


def check_alike(found, plain, most=2.0):
    np.testing.assert_array_equal(found.boxes_xyxy, plain.boxes_xyxy)
    np.testing.assert_array_equal(found.labels, plain.labels)
    apart = np.abs(found.image.astype(int) - plain.image).max(axis=2)
    border = cv2.dilate((np.abs(cv2.Laplacian(plain.image, cv2.CV_64F)).max(2) > 40) * 1.0, None)
    assert apart[border == 0].mean() < most  # away from where tiles meet
    assert (apart > 40).mean() < 0.04


@pytest.mark.parametrize("seed", range(12))
def test_mosaics_are_those_of_the_plain_form(stored, seed):
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(stored), 4)
    tiles, samples = zip(*(both(stored[index], index) for index in chosen), strict=True)
    upright = {"degrees": 0.0, "shear": 0.0} if seed % 3 == 0 else {}
    spec = AugmentSpec(**upright)
    centre, matrix = draw_centre(rng, SIZE), affine_matrix(draw_affine(rng, spec), SIZE)
    plain = warp(mosaic(samples, centre, SIZE), matrix, SIZE)
    check_alike(warped_mosaic(tiles, centre, matrix, SIZE), plain)
    decoded = [whole_tile(sample) for sample in samples]
    check_alike(warped_mosaic(decoded, centre, matrix, SIZE), plain, most=0.5)


@pytest.mark.parametrize("angle", [0.0, 7.0])
def test_tiles_meet_without_a_seam(angle):
    bright = np.full((*SIZE, 3), 200, np.uint8)
    tile = whole_tile(Sample(bright, np.zeros((0, 4), np.float32), np.zeros(0, np.int64)))
    centre = SIZE[0] - 7, SIZE[1] + 9
    matrix = affine_matrix(AffineDraw(angle, 0.7, 0.0, 0.0, 0.0, 0.0), SIZE)
    found = warped_mosaic([tile] * 4, centre, matrix, SIZE).image
    assert set(np.unique(found)) == {PAD_VALUE, 200}
    plain = warp(
        mosaic([Sample(bright, tile.boxes_xyxy, tile.labels)] * 4, centre, SIZE), matrix, SIZE
    )
    assert not (found == PAD_VALUE)[plain.image == 200].any()


@pytest.mark.parametrize("seed", range(12))
def test_mixups_are_those_of_the_plain_form(stored, seed):
    rng = np.random.default_rng(seed)
    tile, partner = both(stored[seed % len(stored)], seed)
    image = Sample(smooth(*SIZE, 77), np.array([[1, 2, 30, 40]], np.float32), np.array([3]))
    draw = draw_mixup(rng, (0.4, 1.7))
    check_alike(mixed_up(image, tile, draw), mixup(image, partner, draw))


def test_a_partner_is_mirrored_about_its_own_middle(stored):
    tile, partner = both(stored[1], 1)
    image = Sample(np.zeros((*SIZE, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, int))
    for scale in (0.6, 1.5):
        draw = MixupDraw(scale, True, 0.3, 0.8)
        found, plain = mixed_up(image, tile, draw).image, mixup(image, partner, draw).image
        assert np.abs(found.astype(int) - plain).mean() < 1.0


def test_a_partner_that_is_not_seen_is_not_decoded():
    def never(factor):
        raise AssertionError("decoded")

    boxes, labels = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    partner = Tile((SIZE[0], 20), boxes, labels, 1.0, never)  # a narrow picture
    image = Sample(np.zeros((*SIZE, 3), np.uint8), boxes, labels)
    for draw in (MixupDraw(1.5, False, 0.0, 1.0), MixupDraw(1.5, True, 0.0, 0.0)):
        found = mixed_up(image, partner, draw).image
        assert set(np.unique(found)) == {PAD_VALUE // 2}
    with pytest.raises(ValueError, match="mixup_scale"):
        AugmentSpec(mixup_scale=(1.0, 1e6))


def test_what_is_not_seen_is_not_decoded_and_what_is_small_is_decoded_small(stored):
    asked = []

    def spied(path):
        tile, _ = both(path, 0)
        pixels = tile.pixels

        def decode(factor):
            asked.append(pixels(factor))
            return asked[-1]

        return Tile(tile.size_hw, tile.boxes_xyxy, tile.labels, tile.scale, decode)

    tiles = [spied(stored[2]) for _ in range(4)]
    centre = (SIZE[0] + 40, SIZE[1] + 40)
    warped_mosaic(tiles, centre, affine_matrix(AffineDraw(0, 1.0, 0, 0, 0, 0), SIZE), SIZE)
    assert len(asked) == 1  # twice the size shows the first alone
    assert asked[0].shape[:2] == (125, 175)  # 1000 x 1400 at an eighth, for 91 x 128 pixels
    asked.clear()
    warped_mosaic(tiles, centre, affine_matrix(AffineDraw(0, 0.3, 0, 0, 0, 0), SIZE), SIZE)
    assert len(asked) == 4


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def with_segment(jpeg, marker, content, before=b""):
    """A JPEG with one more segment after its start, and bytes before that."""
    length = (len(content) + 2).to_bytes(2, "big")
    return jpeg[:2] + before + b"\xff" + marker + length + content + jpeg[2:]


def turned_files():
    """Encoded images 40 wide and 24 high before they are turned, if they are."""
    picture = Image.fromarray(smooth(24, 40, 3))
    files = {}
    for kind in ("jpeg", "png", "webp"):
        for orientation in (1, 3, 6, 8):
            data = BytesIO()
            picture.save(data, kind, exif=exif_of(orientation))
            files[f"{kind} {orientation}"] = data.getvalue()
    data = BytesIO()
    picture.save(data, "jpeg")
    plain = data.getvalue()
    exif = exif_of(6)
    xmp = b'http://ns.adobe.com/xap/1.0/\x00<x tiff:Orientation="6"/>'
    files["comment before exif"] = with_segment(
        with_segment(plain, b"\xe1", exif), b"\xfe", b"a comment"
    )
    files["xmp alone"] = with_segment(plain, b"\xe1", xmp)
    files["damaged exif"] = with_segment(plain, b"\xe1", exif[:8] + b"\0" * 40)
    data = BytesIO()
    picture.save(data, "bmp")
    files["bmp"] = data.getvalue()
    return files


@pytest.mark.parametrize("name", turned_files())
def test_an_image_has_the_size_it_is_decoded_in(tmp_path, name):
    path = tmp_path / "image"
    path.write_bytes(turned_files()[name])
    assert StoredImage(path).size_hw == read_image(path).shape[:2]
    small = StoredImage(path).pixels(2.0)
    assert small.shape[:2] in (read_image(path).shape[:2], (12, 20), (20, 12))


def test_a_header_without_pixels_is_refused(tmp_path):
    path = tmp_path / "flat.jpg"
    data = turned_files()["jpeg 1"]
    path.write_bytes(data.replace(b"\x00\x18\x00\x28", b"\x00\x00\x00\x28"))
    assert path.read_bytes() != data
    with pytest.raises(DataError, match="not a readable image"):
        StoredImage(path)


def test_a_file_is_decoded_once(tmp_path, monkeypatch):
    path = tmp_path / "image"
    path.write_bytes(turned_files()["webp 6"])
    calls = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *words: calls.append(1) or decode(*words))
    stored = StoredImage(path)
    assert stored.size_hw == stored.pixels().shape[:2] == stored.pixels(4.0).shape[:2]
    assert len(calls) == 1

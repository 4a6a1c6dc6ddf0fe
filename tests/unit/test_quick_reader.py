"""The quick reader of the two layouts gives astropy's bits or nothing: on real frames and on damaged ones."""

import io
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from real_frames import COUNTS, FPC, FRAME, M2, plain

from kira.errors import BadFrame
from kira.frames import read_frame
from kira.frames.anyfits import read_any
from kira.frames.contents import Contents
from kira.frames.quick import read_known_layout
from kira.frames.structure import Irregular
from kira.sdss import FrameId

X, Y = (grid.ravel().astype(float) for grid in np.mgrid[0:2048:97, 0:1489:83])


def quick(content: bytes, frame_id: FrameId) -> Contents | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return read_known_layout(content, frame_id)
    except (Irregular, ValueError, OverflowError):
        return None


def by_astropy(content: bytes, frame_id: FrameId) -> Contents:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_any(content, frame_id, frame_id.plain_name)


def assert_same(one: Contents, other: Contents) -> None:
    assert one.data.tobytes() == other.data.tobytes()
    assert one.data.dtype == other.data.dtype == np.float32
    assert one.finite == other.finite
    assert one.remarks == other.remarks == ()
    assert one.solution == other.solution
    np.testing.assert_equal(one.facts, other.facts)
    assert {key: type(value) for key, value in one.facts.items()} == {k: type(v) for k, v in other.facts.items()}
    np.testing.assert_equal(one.flux20, other.flux20)
    for a, b in zip(arrays(one), arrays(other), strict=True):
        assert (a is None) == (b is None)
        assert a is None or (a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    assert one.wcs is not None
    assert other.wcs is not None
    assert one.wcs.wcs.compare(other.wcs.wcs)
    assert one.wcs.to_header_string() == other.wcs.to_header_string()
    assert one.wcs.pixel_shape == other.wcs.pixel_shape
    for a, b in zip(one.wcs.all_pix2world(X, Y, 0), other.wcs.all_pix2world(X, Y, 0), strict=True):
        np.testing.assert_array_equal(a, b)


def arrays(contents: Contents) -> list[np.ndarray | None]:
    grid = contents.sky_grid
    return [contents.column_calibration, *((grid.values, grid.x, grid.y) if grid else (None,) * 3)]


@pytest.mark.parametrize("text", COUNTS)
def test_real_frames_are_read_quickly_and_to_astropys_bits(shared_sdss: Path, text: str) -> None:
    content, frame_id = plain(shared_sdss, text), FrameId.parse(text)
    read = quick(content, frame_id)
    assert read is not None
    assert_same(read, by_astropy(content, frame_id))
    for array in (read.data, *arrays(read)):
        assert array is None or (array.flags.c_contiguous and array.dtype.isnative and array.flags.writeable)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", [FPC, FRAME])
def test_the_same_as_astropy_alone(shared_sdss: Path, text: str) -> None:
    """Without any code of Kira's on the other side."""
    read = read_frame(plain(shared_sdss, text), FrameId.parse(text))
    with fits.open(io.BytesIO(plain(shared_sdss, text))) as hdus:
        assert np.array_equal(read.data, np.array(hdus[0].data, np.float32))
        wcs = WCS(hdus[0].header)
        np.testing.assert_array_equal(read.wcs.all_pix2world(X, Y, 0), wcs.all_pix2world(X, Y, 0))
        if text == FRAME:
            assert np.array_equal(read.column_calibration, hdus[1].data)
            assert np.array_equal(read.sky_grid.values, hdus[2].data["ALLSKY"][0])


def agree(content: bytes, frame_id: FrameId) -> bool:
    """Whether the quick reader accepts damaged bytes; if it does, astropy has to read the same."""
    read = quick(content, frame_id)
    if read is None:
        return False
    assert_same(read, by_astropy(content, frame_id))
    return True


def starts_of_hdus(content: bytes) -> list[int]:
    with fits.open(io.BytesIO(content)) as hdus:
        return [hdus.fileinfo(i)["hdrLoc"] for i in range(len(hdus))]


@pytest.mark.parametrize("text", [FPC, FRAME])
def test_flipped_bits_in_headers(shared_sdss: Path, text: str) -> None:
    content, frame_id, chance = bytearray(plain(shared_sdss, text)), FrameId.parse(text), random.Random(7)
    headers = starts_of_hdus(bytes(content))
    accepted = 0
    for _ in range(120):
        # Mostly in the primary header, and there in the part where values stand.
        position = (
            chance.choice([headers[0], chance.choice(headers)]) + 80 * chance.randrange(86) + chance.randrange(34)
        )
        before = content[position]
        content[position] ^= 1 << chance.randrange(7)
        accepted += agree(bytes(content), frame_id)
        content[position] = before
    # Otherwise the test would say little: some flips change a value that only has to be read alike.
    assert 5 < accepted < 115


@pytest.mark.parametrize("text", [FPC, M2])
def test_flipped_bits_in_data(shared_sdss: Path, text: str) -> None:
    content, frame_id, chance = bytearray(plain(shared_sdss, text)), FrameId.parse(text), random.Random(8)
    first = bytes(content).index(b"END" + b" " * 77) // 2880 * 2880 + 2880
    for _ in range(10):
        position = chance.randrange(first, first + 5_000_000)
        before = content[position]
        content[position] ^= 1 << chance.randrange(8)
        assert agree(bytes(content), frame_id)
        content[position] = before


@pytest.mark.parametrize("text", [FPC, FRAME])
def test_files_cut_short_or_too_long(shared_sdss: Path, text: str) -> None:
    content, frame_id, chance = plain(shared_sdss, text), FrameId.parse(text), random.Random(9)
    blocks = len(content) // 2880
    ends = [0, 80, 2880, len(content) - 1, len(content) - 2880, *starts_of_hdus(content)]
    ends += [2880 * chance.randrange(blocks) for _ in range(10)] + [chance.randrange(len(content)) for _ in range(10)]
    for end in ends:
        assert quick(content[:end], frame_id) is None
    for rest in (b" ", bytes(2880), b" " * 2880, content[:2880], content):
        assert quick(content + rest, frame_id) is None


def changed(content: bytes, old: bytes, new: bytes) -> bytes:
    """The content with the start of one card replaced."""
    assert content.count(old) == 1
    assert len(old) == len(new)
    return content.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"OBJECT  =", b"LONPOLE ="),
        (b"OBJECT  =", b"A_ORDER ="),
        (b"OBJECT  =", b"PV2_1   ="),
        (b"OBJECT  =", b"BLANK   ="),
        (b"OBJECT  =", b"DATASUM ="),
        (b"OBJECT  =", b"CRVAL1A ="),
        (b"OBJECT  =", b"EXTNAME ="),
        (b"OBJECT  =", b"RADESYS ="),
        (b"OBJECT  =", b"CRVAL2  ="),
        (b"OBJECT  =", b"object  ="),
        (b"OBJECT  =", b"OBJECT   "),
        (b"OBJECT  =", b"OBJEC\xc9 ="),
        (b"CTYPE1  = 'RA---TAN'", b"CTYPE1  = 'RA---SIN'"),
        (b"CAMROW  = ", b"CAMROW  =\t"),
        (b"SIMPLE  =                    T", b"SIMPLE  =                    F"),
        (b"NAXIS1  =                 2048", b"NAXIS1  =                 2047"),
    ],
)
def test_what_the_quick_reader_leaves_to_astropy(shared_sdss: Path, old: bytes, new: bytes) -> None:
    for text in (FPC, FRAME):
        content, frame_id = plain(shared_sdss, text), FrameId.parse(text)
        content = content[: (end := content.index(b"END" + b" " * 77))].replace(old, new) + content[end:]
        assert new in content
        assert quick(content, frame_id) is None


def test_scaled_pixels_are_left_to_astropy(shared_sdss: Path) -> None:
    content, frame_id = plain(shared_sdss, FPC), FrameId.parse(FPC)
    scaled = changed(content, b"BSCALE  = 1.00000000000000E+00", b"BSCALE  = 2.00000000000000E+00")
    assert quick(scaled, frame_id) is None
    plain_data, data = read_frame(content, frame_id).data, read_frame(scaled, frame_id).data
    assert np.array_equal(data, (plain_data - 32768) * 2 + 32768)


def test_every_frame_is_somebodys(shared_sdss: Path) -> None:
    content = plain(shared_sdss, FRAME)
    for other in (FPC, "dr12-301-000094-1-0013-u", "dr12-301-000094-1-0012-g", "dr12-301-000752-1-0012-u"):
        assert quick(content, FrameId.parse(other)) is None


@pytest.mark.parametrize(("value", "finite"), [(np.nan, False), (np.inf, False), (1e38, True)])
def test_pixels_without_a_value(shared_sdss: Path, value: float, finite: bool) -> None:
    content, frame_id = bytearray(plain(shared_sdss, FRAME)), FrameId.parse(FRAME)
    at = bytes(content).index(b"END" + b" " * 77) // 2880 * 2880 + 2880 + 4 * (2048 * 1000 + 17)
    content[at : at + 4] = np.array(value, ">f4").tobytes()
    read = quick(bytes(content), frame_id)
    assert read is not None
    assert read.finite is finite
    assert_same(read, by_astropy(bytes(content), frame_id))
    mask = read_frame(bytes(content), frame_id).mask
    assert (mask is None) is finite
    assert mask is None or np.flatnonzero(mask).tolist() == [2048 * 1000 + 17]


@pytest.mark.parametrize("text", [FPC, FRAME])
def test_constant_pixels_get_their_sentence(shared_sdss: Path, text: str) -> None:
    content, frame_id = plain(shared_sdss, text), FrameId.parse(text)
    first = content.index(b"END" + b" " * 77) // 2880 * 2880 + 2880
    size = 2048 * 1489 * (2 if text == FPC else 4)
    content = content[:first] + bytes(size) + content[first + size :]
    with pytest.raises(BadFrame, match="all pixels have the same value"):
        read_frame(content, frame_id)

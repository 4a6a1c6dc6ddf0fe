import gzip
import io
import random
import re
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from real_frames import COUNTS, FPC, FRAME, M2, frame, plain

from kira.errors import BadFrame, KiraError
from kira.frames import COLUMNS, ROWS, Frame, read_frame, unpack
from kira.frames.reader import FRAME_NUMBER_OFFSET
from kira.sdss import FrameId

ODD = {
    "arange.fits": "the primary HDU is no two-dimensional image",
    "blank.fits": "no pixel has a value",
    "checksum_false.fits": "HDU 0 does not have the CHECKSUM or DATASUM",
    "compressed_float_bzero.fits": "the primary HDU is no two-dimensional image",
    "fixed-1890.fits": "all pixels have the same value, 1890",
    "header_newlines.fits": "HDU 0 does not have the CHECKSUM or DATASUM",
    "history_header.fits": "the primary HDU is no two-dimensional image",
    "m13_gzip.fits": "the primary HDU is no two-dimensional image",
    "m13_rice.fits": "the primary HDU is no two-dimensional image",
    "random_groups.fits": "the primary HDU is no two-dimensional image",
    "scale.fits": None,
    "table.fits": "the primary HDU is no two-dimensional image",
    "test0.fits": "the primary HDU is no two-dimensional image",
    "zerowidth.fits": "the primary HDU is no two-dimensional image",
}
"""What becomes of legal but unusual, and of broken FITS files; None: read."""


def refused(content: bytes, frame_id: FrameId | None = None) -> str:
    with pytest.raises(BadFrame) as caught:
        read_frame(content, frame_id)
    assert str(caught.value).startswith(frame_id.plain_name if frame_id else "image")
    return str(caught.value)


def image(data: np.ndarray, **cards: Any) -> bytes:
    """A FITS file of one HDU with a TAN WCS; a card of None leaves it out."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [1e-4, 1e-4], [1.0, 1.0]
    hdu = fits.PrimaryHDU(data, header=wcs.to_header())
    for key, value in cards.items():
        if value is None:
            del hdu.header[key]
        else:
            hdu.header[key] = value
    return written(fits.HDUList([hdu]))


def written(hdus: fits.HDUList) -> bytes:
    out = io.BytesIO()
    hdus.writeto(out)
    return out.getvalue()


def noise(shape: tuple[int, int] = (50, 60)) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("text", COUNTS)
def test_real_frames(shared_sdss: Path, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the known traps of real headers must not even warn
        read = read_frame(plain(shared_sdss, text), FrameId.parse(text))
    assert str(read.id) == text == read.name
    assert read.shape == read.data.shape == (ROWS, COLUMNS)
    assert read.data.dtype == np.dtype(np.float32)
    assert read.data.dtype.isnative
    assert read.data.flags.c_contiguous
    assert read.data.flags.owndata
    assert np.isfinite(read.data).all()
    assert 53.9 < read.exptime < 53.91
    assert 51_000 < read.mjd < 54_000
    assert read.wcs.has_celestial
    assert not read.synthetic
    if text.startswith("dr7"):
        assert (read.bunit, read.softbias) == ("DNs", 1000.0)
        assert np.median(read.data) > 1000  # BZERO is applied, the soft bias is part of the pixels
        assert np.isnan(read.nmgy_per_count)
    else:
        assert (read.bunit, read.softbias) == ("nanomaggy", 0.0)
        assert 0.002 < read.nmgy_per_count < 0.05


def test_header_values_that_are_missing_are_nan(shared_sdss: Path) -> None:
    assert frame(shared_sdss, "dr7-40-004192-4-0300-r").sky == pytest.approx(145.22)
    assert np.isnan(frame(shared_sdss, "dr7-40-005754-3-0280-r").sky)
    assert np.isnan(frame(shared_sdss, FRAME).sky)


def test_frame_number_is_the_field_plus_an_offset_of_the_band(shared_sdss: Path) -> None:
    for text in COUNTS:
        frame_id = FrameId.parse(text)
        header = fits.getheader(io.BytesIO(plain(shared_sdss, text)))
        assert header["FRAME"] == frame_id.field + FRAME_NUMBER_OFFSET[frame_id.band]


@pytest.mark.parametrize("text", [FPC, FRAME])
@pytest.mark.parametrize(
    ("other", "key"),
    [
        ({"run": 752}, "RUN"),
        ({"camcol": 6}, "CAMCOL"),
        ({"field": 13}, "FRAME"),
        ({"band": "g"}, "FILTER"),
    ],
)
def test_a_frame_under_the_name_of_another(shared_sdss: Path, text: str, other: dict[str, Any], key: str) -> None:
    frame_id = FrameId(**{**vars(FrameId.parse(text)), **other})
    assert f"its header says {key} = " in refused(plain(shared_sdss, text), frame_id)


def test_hdu_3_must_agree_where_the_primary_header_says_nothing(shared_sdss: Path) -> None:
    hdus = fits.HDUList.fromstring(plain(shared_sdss, FRAME))
    del hdus[0].header["FRAME"]
    content = written(hdus)
    frame_id = FrameId.parse(FRAME)
    assert read_frame(content, frame_id).id == frame_id
    assert "its HDU 3 says FIELD = 12" in refused(content, FrameId(**{**vars(frame_id), "field": 13}))


def test_a_layout_under_the_name_of_the_other(shared_sdss: Path) -> None:
    assert "1 HDUs where a frame of dr12 has 4" in refused(plain(shared_sdss, FPC), FrameId.parse(FRAME))
    assert "4 HDUs where a frame of dr7 has 1" in refused(plain(shared_sdss, FRAME), FrameId.parse(FPC))


def ends_of_hdus(content: bytes) -> list[int]:
    with fits.open(io.BytesIO(content)) as hdus:
        return [info["datLoc"] + info["datSpan"] for info in (hdus.fileinfo(i) for i in range(len(hdus)))]


def test_a_frame_without_its_tail(shared_sdss: Path) -> None:
    content, frame_id = plain(shared_sdss, M2), FrameId.parse(M2)
    *ends, whole = ends_of_hdus(content)
    assert whole == len(content)
    for n_hdus, end in enumerate(ends, start=1):
        assert f"{n_hdus} HDUs where a frame of dr12 has 4" in refused(content[:end], frame_id)


@pytest.mark.filterwarnings("ignore")  # astropy warns too, which proves nothing
@pytest.mark.parametrize("text", [FPC, FRAME])
def test_a_plain_file_cut_short(shared_sdss: Path, text: str) -> None:
    content, frame_id = plain(shared_sdss, text), FrameId.parse(text)
    assert "cut short" in refused(content[: len(content) // 2 // 2880 * 2880], frame_id)
    assert "cut short" in refused(content[:-2880], frame_id)
    for length in (0, 10, 80, 2880, 5760):
        refused(content[:length], frame_id)


@pytest.mark.filterwarnings("ignore")  # astropy warns too, which proves nothing
def test_bytes_after_the_last_hdu(shared_sdss: Path) -> None:
    refused(plain(shared_sdss, FPC) + bytes(2880), FrameId.parse(FPC))


def test_compressed_bytes_are_not_opened_on_the_quiet(shared_sdss: Path) -> None:
    assert "does not begin as plain FITS" in refused(gzip.compress(plain(shared_sdss, FPC), 1), FrameId.parse(FPC))


@pytest.mark.parametrize("text", [FPC, FRAME])
def test_flipped_bits_in_headers_never_raise_anything_else(shared_sdss: Path, text: str) -> None:
    content, chance = bytearray(plain(shared_sdss, text)), random.Random(1)
    ends = ends_of_hdus(bytes(content))
    headers = [0, *ends[:-1]]
    for _ in range(60):
        position = chance.choice(headers) + chance.randrange(2880)
        before = content[position]
        content[position] ^= 1 << chance.randrange(8)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read_frame(bytes(content), FrameId.parse(text))
        except BadFrame:
            pass
        content[position] = before


def test_shape(shared_sdss: Path) -> None:
    frame_id = FrameId.parse(FPC)
    assert "shape (1489, 2047)" in refused(image(noise((1489, 2047))), frame_id)
    assert "shape (2, 1489, 2048)" in refused(image(np.zeros((2, 1489, 2048), np.float32)), frame_id)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("ignore")
def test_odd_files(shared_sdss: Path, name: str) -> None:
    content = (shared_sdss.parent / "fits" / "odd" / name).read_bytes()
    cause = ODD[name]
    if cause is None:
        assert isinstance(read_frame(unpack(content, name), None), Frame)
    else:
        assert cause in refused(unpack(content, name))
    with pytest.raises(BadFrame):
        read_frame(content, FrameId.parse(FPC))


@pytest.mark.filterwarnings("ignore")
def test_all_odd_files_are_listed(shared_sdss: Path) -> None:
    assert {path.name for path in (shared_sdss.parent / "fits" / "odd").glob("*.fits")} == set(ODD)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("side", [10**5, 10**9, 2**31])
def test_a_huge_array_that_is_not_there_is_not_allocated(side: int) -> None:
    content = image(noise()).replace(b"NAXIS1  =                   60", b"NAXIS1  = %20d" % side)
    content = content.replace(b"NAXIS2  =                   50", b"NAXIS2  = %20d" % side)
    assert b"%20d" % side in content
    tracemalloc.start()
    try:
        assert re.search("cut short|OverflowError", refused(content))
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


def test_any_image_with_coordinates() -> None:
    read = read_frame(image(noise(), EXPTIME="12.5", TAI="NA", SYNTHET=True, SOFTBIAS=1000), None)
    assert (read.shape, read.exptime, read.synthetic, read.softbias) == ((50, 60), 12.5, True, 1000.0)
    assert np.isnan(read.tai)
    assert np.array_equal(read.data, noise())
    assert not read_frame(image(noise(), SYNTHET=False), None).synthetic


def test_no_celestial_coordinates() -> None:
    assert "no celestial coordinates" in refused(image(noise(), CTYPE1=None, CTYPE2=None))
    assert "no celestial coordinates" in refused(image(noise(), CTYPE1="LINEAR", CTYPE2="LINEAR"))


def test_pixels_without_values() -> None:
    assert "all are NaN" in refused(image(np.full((50, 60), np.nan, np.float32)))
    assert "all pixels have the same value, 7" in refused(image(np.full((50, 60), 7, np.float32)))
    some = noise()
    some[3, 4] = np.nan
    assert np.isnan(read_frame(image(some), None).data).sum() == 1


def test_a_calibration_vector_that_is_not_finite(shared_sdss: Path) -> None:
    hdus = fits.HDUList.fromstring(plain(shared_sdss, FRAME))
    hdus[1].data = np.where(np.arange(2048) == 7, np.nan, hdus[1].data).astype(np.float32)
    assert "calibration vector" in refused(written(hdus), FrameId.parse(FRAME))


def test_checksums_in_headers_are_verified() -> None:
    out = io.BytesIO()
    hdu = fits.HDUList.fromstring(image(np.arange(3000, dtype=np.uint16).reshape(50, 60)))[0]
    hdu.writeto(out, checksum=True)
    content = out.getvalue()
    assert read_frame(content, None).data.max() == 2999
    damaged = bytearray(content)
    damaged[-3000] ^= 1
    assert "CHECKSUM" in refused(bytes(damaged))


def test_errors_are_kiras_own() -> None:
    for content in (b"", b"SIMPLE  =", b"SIMPLE  =" + b"\xff" * 2871, b"SIMPLE  =                    T".ljust(2880)):
        with pytest.raises(KiraError):
            read_frame(content, None)

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
from kira.frames import COLUMNS, ROWS, read_frame, unpack
from kira.frames.contents import FRAME_NUMBER_OFFSET
from kira.sdss import FrameId

NO_IMAGE = "no HDU is a two-dimensional image"
ODD = {
    "arange.fits": NO_IMAGE,
    "blank.fits": "no pixel has a value",
    "checksum_false.fits": "HDU 0 does not have the CHECKSUM or DATASUM",
    "compressed_float_bzero.fits": NO_IMAGE,
    "fixed-1890.fits": "all pixels have the same value, 1890",
    "header_newlines.fits": "HDU 0 does not have the CHECKSUM or DATASUM",
    "history_header.fits": NO_IMAGE,
    "m13_gzip.fits": (300, 300),
    "m13_rice.fits": (300, 300),
    "random_groups.fits": NO_IMAGE,
    "scale.fits": (21, 20),
    "table.fits": NO_IMAGE,
    "test0.fits": (40, 40),
    "zerowidth.fits": NO_IMAGE,
}
"""What becomes of legal but unusual, and of broken FITS files: the shape of what is read, or why it is refused."""


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
    assert (read.band, read.mask, read.saturated, read.interpolated) == (text[-1], None, None, None)
    assert read.remarks == ()
    assert 0.3957 < read.pixel_scale < 0.3962
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
    if isinstance(cause, tuple):
        read = read_frame(unpack(content, name), None)
        assert (read.shape, read.data.dtype, read.data.flags.c_contiguous) == (cause, np.float32, True)
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


@pytest.mark.parametrize("ctype", [None, "LINEAR"])
def test_no_celestial_coordinates(shared_sdss: Path, ctype: str | None) -> None:
    read = read_frame(image(noise(), CTYPE1=ctype, CTYPE2=ctype), None)
    assert read.wcs is None
    assert np.isnan(read.pixel_scale)
    assert np.isnan(read.sky_positions(np.arange(3.0), np.arange(3.0))).all()
    assert any("no celestial coordinates" in remark for remark in read.remarks)
    hdus = fits.HDUList.fromstring(plain(shared_sdss, FPC))
    for key in ("CTYPE1", "CTYPE2"):
        if ctype:
            hdus[0].header[key] = ctype
        else:
            del hdus[0].header[key]
    assert "no celestial coordinates" in refused(written(hdus), FrameId.parse(FPC))


def test_coordinates_that_cannot_be_read() -> None:
    read = read_frame(image(noise(), CTYPE1="RA---TAN", CTYPE2="DEC--SIN"), None)
    assert read.wcs is None
    assert any("coordinates cannot be read" in remark for remark in read.remarks)


def test_what_is_not_known_of_another_image_is_said() -> None:
    read = read_frame(image(noise()), None)
    assert (read.calibration, read.noise_source, read.noise, read.band) == ("none", "none", None, None)
    assert np.isnan([read.nmgy, read.gain, read.dark_variance, read.seeing]).all()
    assert any("not a frame of SDSS" in remark for remark in read.remarks)
    assert read.pixel_scale == pytest.approx(0.36)


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "i8", "u2", "u4", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_of_any_kind(kind: str, order: str) -> None:
    data = np.random.default_rng(2).integers(0, 200, (50, 60)).astype(np.dtype(kind).newbyteorder(order))
    read = read_frame(image(data), None).data
    assert (read.dtype, read.dtype.isnative, read.flags.c_contiguous) == (np.float32, True, True)
    assert np.array_equal(read, data)


@pytest.mark.parametrize("zero", [0, 32768, 100])
@pytest.mark.parametrize("scale", [1, 0.5])
def test_scaled_integers_with_blank_pixels(zero: int, scale: float) -> None:
    stored = np.random.default_rng(3).integers(-1000, 1000, (50, 60)).astype(np.int16)
    stored[4, 5] = stored[6, 7] = -32768
    content = bytearray(image(stored))
    card = f"BLANK   ={-32768:>21}".ljust(80) + f"BZERO   ={zero:>21}".ljust(80) + f"BSCALE  ={scale:>21}".ljust(80)
    end = content.index(b"END" + b" " * 77)
    content[end : end + 320] = card.encode() + b"END".ljust(80)
    read = read_frame(bytes(content), None)
    blank = stored == -32768
    assert np.array_equal(read.mask, blank)
    assert np.isnan(read.data[blank]).all()
    assert np.array_equal(read.data[~blank], (stored * np.float64(scale) + zero)[~blank].astype(np.float32))


def test_the_first_image_of_two_dimensions_is_taken() -> None:
    empty, cube = fits.PrimaryHDU(), fits.ImageHDU(np.zeros((2, 3, 4), np.int16))
    packed = fits.CompImageHDU(np.arange(3000, dtype=np.int32).reshape(50, 60), compression_type="RICE_1")
    content = written(fits.HDUList([empty, cube, packed, fits.ImageHDU(noise())]))
    assert np.array_equal(read_frame(content, None).data, np.arange(3000, dtype=np.float32).reshape(50, 60))


@pytest.mark.filterwarnings("ignore")
def test_a_huge_compressed_image_is_not_unpacked() -> None:
    packed = fits.CompImageHDU(np.arange(3000, dtype=np.int32).reshape(50, 60), compression_type="GZIP_1")
    content = written(fits.HDUList([fits.PrimaryHDU(), packed]))
    for key, side in (("ZNAXIS1", 60), ("ZNAXIS2", 50)):
        content = content.replace(f"{key} ={side:>21}".encode(), f"{key} ={777777701:>21}".encode())
    assert content.count(b"777777701") == 2
    tracemalloc.start()
    try:
        assert "is more than is unpacked" in refused(content)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


def test_pixels_without_values() -> None:
    assert "all are NaN" in refused(image(np.full((50, 60), np.nan, np.float32)))
    assert "all pixels have the same value, 7" in refused(image(np.full((50, 60), 7, np.float32)))
    some = noise()
    some[3, 4] = np.nan
    read = read_frame(image(some), None)
    assert np.array_equal(read.mask, np.isnan(some))
    assert read.mask is not None
    assert read.mask.sum() == 1
    assert read_frame(image(noise()), None).mask is None


def test_a_calibration_vector_that_is_not_finite(shared_sdss: Path) -> None:
    hdus = fits.HDUList.fromstring(plain(shared_sdss, FRAME))
    hdus[1].data = np.where(np.arange(2048) == 7, np.nan, hdus[1].data).astype(np.float32)
    assert "calibration vector" in refused(written(hdus), FrameId.parse(FRAME))


def test_a_sky_that_does_not_say_where_it_lies(shared_sdss: Path) -> None:
    hdus = fits.HDUList.fromstring(plain(shared_sdss, FRAME))
    hdus[2] = fits.BinTableHDU.from_columns(hdus[2].columns[:2])
    read = read_frame(written(hdus), FrameId.parse(FRAME))
    assert np.array_equal(read.data, frame(shared_sdss, FRAME).data)
    assert (read.noise, read.noise_source, read.sky_grid) == (None, "none", None)
    assert np.isnan(read.gain)
    assert read.remarks == ("The noise is not known: HDU 2 does not tell how its sky lies on the pixels.",)


def test_checksums_in_headers_are_verified() -> None:
    out = io.BytesIO()
    hdu = fits.HDUList.fromstring(image(np.arange(3000, dtype=np.uint16).reshape(50, 60)))[0]
    hdu.writeto(out, checksum=True)
    content = out.getvalue()
    assert read_frame(content, None).data.max() == 2999
    damaged = bytearray(content)
    damaged[-3000] ^= 1
    assert "CHECKSUM" in refused(bytes(damaged))


CAMERAS = (
    "DATASUM = '3790320394'         / Data checksum created 2007-09-16T06:39:48",
    "CHECKSUM= 'jc9Bja7Aja7Aja7A'   / HDU checksum created 2007-09-16T06:39:48",
)


@pytest.mark.parametrize("text", [FPC, FRAME])
def test_checksums_of_the_raw_image_are_not_those_of_the_frame(shared_sdss: Path, text: str) -> None:
    """Corrected frames of the last years inherit them: two cards behind TAIHMS, in this form."""

    def with_cards(*cards: str) -> bytes:
        content = plain(shared_sdss, text)
        end = content.index(b"END" + b" " * 77)
        at = content.index(b"COMMENT  TAI,RA")
        added = "".join(card.ljust(80) for card in cards).encode()
        header = content[:at] + added + content[at : end + 80]
        return header.ljust(-(-len(header) // 2880) * 2880) + content[-(-(end + 80) // 2880) * 2880 :]

    frame_id = FrameId.parse(text)
    assert np.array_equal(read_frame(with_cards(*CAMERAS), frame_id).data, frame(shared_sdss, text).data)
    refused(with_cards(*CAMERAS), None)
    for others in (CAMERAS[:1], CAMERAS[1:], [card.replace("created", "updated") for card in CAMERAS]):
        assert "HDU 0 does not have the CHECKSUM or DATASUM" in refused(with_cards(*others), frame_id)


def test_errors_are_kiras_own() -> None:
    for content in (b"", b"SIMPLE  =", b"SIMPLE  =" + b"\xff" * 2871, b"SIMPLE  =                    T".ljust(2880)):
        with pytest.raises(KiraError):
            read_frame(content, None)

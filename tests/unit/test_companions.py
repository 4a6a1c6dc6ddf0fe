"""Calibration, noise, seeing and masks of real frames with what lies beside them; and companions that are no good."""

import io
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sep
from astropy.io import fits
from real_frames import COUNTS, FPC, FRAME, companions, frame, full_frame, plain

from kira.frames import COLUMNS, ROWS, Companions, Frame, read_frame
from kira.frames.calibration import nmgy_from_flux20, nmgy_from_tsfield
from kira.frames.masks import read_mask
from kira.frames.noise import SkyGrid, count_noise, nanomaggy_noise, tabulated
from kira.frames.structure import Irregular, Table, read_hdus
from kira.sdss import BANDS, FrameId

DR7 = [text for text in COUNTS if text.startswith("dr7")]
FIELD_300 = [text for text in DR7 if "4192" in text]
ALONE = "dr12-301-000094-1-0131-g"
"""Has no psField among the files."""
R_4192 = "dr7-40-004192-4-0300-r"


def opened(root: Path, text: str, kind: str) -> tuple[bytes, fits.HDUList]:
    content = getattr(companions(root, text), kind)
    return content, fits.open(io.BytesIO(content))


class TestTables:
    """Kira's reader of tables against astropy's."""

    @pytest.mark.parametrize("kind", ["tsfield", "psfield", "mask"])
    @pytest.mark.parametrize("text", [R_4192, "dr7-40-005754-3-0280-r", FRAME])
    def test_every_column(self, shared_sdss: Path, text: str, kind: str) -> None:
        if getattr(companions(shared_sdss, text), kind) is None:
            assert text == FRAME
            return
        content, hdus = opened(shared_sdss, text, kind)
        ours = read_hdus(content)
        assert len(ours) == len(hdus)
        compared = 0
        for mine, theirs in zip(ours[1:], hdus[1:], strict=True):
            for column in theirs.columns if len(theirs.data) else ():
                values = Table(mine).column(column.name.upper())
                if "P" in column.format:
                    assert values[:, 0].tolist() == [len(array) for array in theirs.data[column.name]]
                elif "A" in column.format:
                    assert [v[0].decode().rstrip() for v in values] == list(theirs.data[column.name])
                else:
                    assert values.dtype.isnative
                    assert np.array_equal(values, theirs.data[column.name].reshape(values.shape), equal_nan=True)
                compared += 1
        assert compared > 25

    def test_a_column_that_is_not_there(self, shared_sdss: Path) -> None:
        content, _ = opened(shared_sdss, FRAME, "psfield")
        with pytest.raises(Irregular, match="it has no column gains"):
            Table(read_hdus(content)[6]).column("gains")


class TestFluxCalibration:
    def test_by_hand(self, shared_sdss: Path) -> None:
        _, hdus = opened(shared_sdss, FPC, "tsfield")
        row = hdus[1].data[0]
        for band in BANDS:
            read = full_frame(shared_sdss, f"{FPC[:-1]}{band}")
            i = BANDS.index(band)
            f_over_f0 = 1 / 53.907456 * 10 ** (0.4 * (float(row["aa"][i]) + float(row["kk"][i]) * row["airmass"][i]))
            assert read.calibration == "tsField"
            assert read.nmgy == pytest.approx(1e9 * f_over_f0, rel=1e-9)

    @pytest.mark.parametrize(
        ("band", "apart"), [("u", 0.049), ("g", 0.034), ("r", 0.0025), ("i", 0.0075), ("z", 0.023)]
    )
    def test_preliminary_and_final(self, shared_sdss: Path, band: str, apart: float) -> None:
        """FLUX20 is the preliminary calibration; what it is away from tsField's differs from band to band."""
        final, first = (read(shared_sdss, f"{FPC[:-1]}{band}") for read in (full_frame, frame))
        assert (final.calibration, first.calibration) == ("tsField", "FLUX20")
        assert 0.7 * apart < abs(final.nmgy / first.nmgy - 1) < apart

    @pytest.mark.parametrize("band", ["u", "g", "r", "i"])
    def test_against_stars_of_known_magnitude(self, shared_sdss: Path, band: str) -> None:
        """Stripe 82's standard stars: apertures of 4 arcsec lose a few per cent, which is less than 0.06 mag."""
        read = full_frame(shared_sdss, f"{FPC[:-1]}{band}")
        stars = fits.getdata(shared_sdss / "reference" / "stripe82-stars.fits")
        x, y = read.wcs.all_world2pix(stars["ra"], stars["dec"], 0)
        inside = (x > 30) & (x < COLUMNS - 30) & (y > 30) & (y < ROWS - 30)
        chosen = inside & (stars[band] > 16) & (stars[band] < 19.5) & (stars["starnotgal"] == 1)
        assert chosen.sum() >= 10
        pixels = read.data - sep.Background(read.data).back()
        counts, _, _ = sep.sum_circle(pixels, x[chosen], y[chosen], 10.0)
        magnitudes = 22.5 - 2.5 * np.log10(counts * read.nmgy)
        assert abs(np.median(magnitudes - stars[band][chosen])) < 0.06

    def test_without_either(self, shared_sdss: Path) -> None:
        read = frame(shared_sdss, "dr7-40-005754-3-0280-r")
        assert read.calibration == "none"
        assert np.isnan(read.nmgy)

    def test_frames_are_nanomaggies(self, shared_sdss: Path) -> None:
        assert (frame(shared_sdss, FRAME).nmgy, frame(shared_sdss, FRAME).calibration) == (1.0, "frame")

    @pytest.mark.parametrize("numbers", [(-9999, 0.1, 1.2), (-24, -9999, 1.2), (-24, 0.1, -9999), (np.nan, 0.1, 1.2),
                                         (-24, np.inf, 1.2), (-24, 0.1, 0.0), (-24, 0.1, np.inf)])  # fmt: skip
    def test_numbers_that_are_not_known(self, numbers: tuple[float, float, float]) -> None:
        assert np.isnan(nmgy_from_tsfield(*numbers))

    @pytest.mark.parametrize("flux20", [0.0, -9999.0, np.nan, np.inf])
    def test_flux20_that_is_not_known(self, flux20: float) -> None:
        assert np.isnan(nmgy_from_flux20(flux20))


def sky_noise(read: Frame) -> tuple[float, float]:
    """Noise of the sky as SEP measures it, and the predicted one of those pixels."""
    background = sep.Background(read.data)
    sky = np.abs(read.data - background.back()) < 3 * background.globalrms
    assert read.noise is not None
    return background.globalrms, float(np.median(read.noise[sky]))


class TestNoise:
    @pytest.mark.parametrize("text", [text for text in COUNTS if text != ALONE])
    def test_predicts_the_noise_of_the_sky(self, shared_sdss: Path, text: str) -> None:
        """Expected to 6 %: unresolved sources add to what is measured, interpolation and rounding take from it."""
        read = full_frame(shared_sdss, text)
        assert read.noise_source == "psField"
        assert read.noise is not None
        assert (read.noise.dtype, read.noise.shape, read.noise.flags.c_contiguous) == (np.float32, read.shape, True)
        assert np.isfinite(read.noise).all()
        assert read.noise.min() > 0
        measured, predicted = sky_noise(read)
        assert predicted / measured == pytest.approx(1.0, abs=0.06)

    def test_the_example_of_the_facts(self, shared_sdss: Path) -> None:
        measured, predicted = sky_noise(full_frame(shared_sdss, "dr12-301-000094-1-0012-r"))
        assert predicted == pytest.approx(0.0304, abs=2e-4)
        assert measured == pytest.approx(0.0308, abs=2e-4)

    def test_sources_are_noisier_than_sky(self, shared_sdss: Path) -> None:
        for text in (R_4192, "dr12-301-000094-1-0012-r"):
            read = full_frame(shared_sdss, text)
            assert read.noise is not None
            brightest = np.unravel_index(np.argmax(read.data), read.shape)
            counts = read.noise[brightest] / np.median(read.noise)
            assert counts > 5

    def test_pixel_by_pixel_in_double_precision(self, shared_sdss: Path) -> None:
        """The formulas of the data model, written down again and without blocks."""
        read = full_frame(shared_sdss, FRAME)
        grid, calib = read.sky_grid, read.column_calibration
        assert grid is not None
        assert calib is not None
        assert read.noise is not None
        for row, column in [(0, 0), (0, 2047), (1488, 0), (1488, 2047), (700, 1000), (31, 3), (32, 4), (1487, 2046)]:
            u = min(max(float(grid.x[column]), 0.0), grid.values.shape[1] - 1)
            v = min(max(float(grid.y[row]), 0.0), grid.values.shape[0] - 1)
            i, j = min(int(v), grid.values.shape[0] - 2), min(int(u), grid.values.shape[1] - 2)
            corner = grid.values[i : i + 2, j : j + 2].astype(float)
            sky = (corner * np.outer([1 - (v - i), v - i], [1 - (u - j), u - j])).sum()
            assert grid.at_pixels()[row, column] == pytest.approx(sky, rel=1e-5)
            dn = max(float(read.data[row, column]) / float(calib[column]) + sky, 0.0)
            err = np.sqrt(dn / read.gain + read.dark_variance) * float(calib[column])
            assert read.noise[row, column] == pytest.approx(err, rel=1e-5)

    def test_sky_put_back_is_the_sky_of_the_header(self, shared_sdss: Path) -> None:
        _, hdus = opened(shared_sdss, FRAME, "psfield")
        sky = full_frame(shared_sdss, FRAME).sky_grid
        assert sky is not None
        assert np.median(sky.at_pixels()) == pytest.approx(hdus[6].data["sky"][0][0], rel=0.03)

    def test_dead_pixels_have_the_noise_of_darkness(self) -> None:
        counts = np.array([[-500.0, 0.0, 100.0, np.nan]], dtype=np.float32)
        noise = count_noise(counts.copy(), 4.0, 9.0)
        assert noise[0, :3].tolist() == pytest.approx([3.0, 3.0, np.sqrt(34.0)])
        assert np.isnan(noise[0, 3])

    def test_columns_without_calibration_have_no_noise(self) -> None:
        grid = SkyGrid(np.full((4, 5), 100, np.float32), np.arange(3, dtype=np.float32), np.arange(2, dtype=np.float32))
        calibration = np.array([0.01, 0.0, -1.0], dtype=np.float32)
        noise = nanomaggy_noise(np.zeros((2, 3), np.float32), calibration, grid, 4.0, 0.0)
        assert noise[:, 0] == pytest.approx(0.05)
        assert np.isnan(noise[:, 1:]).all()

    def test_is_computed_once_and_only_when_asked_for(self, shared_sdss: Path) -> None:
        read = read_frame(plain(shared_sdss, FRAME), FrameId.parse(FRAME))
        assert "noise" not in vars(read)
        assert read.noise is read.noise

    def test_the_table_without_psfield(self, shared_sdss: Path) -> None:
        read = full_frame(shared_sdss, ALONE)
        assert (read.noise_source, read.gain, read.dark_variance) == ("table", 3.32, 15.6025)
        measured, predicted = sky_noise(read)
        assert predicted / measured == pytest.approx(1.0, abs=0.06)

    def test_psfield_wins_over_the_table(self, shared_sdss: Path) -> None:
        differ = {}
        for text in COUNTS:
            read = full_frame(shared_sdss, text)
            ours = tabulated(FrameId.parse(text))
            assert read.gain == pytest.approx(ours[0], rel=1e-6)
            if read.dark_variance != pytest.approx(ours[1], rel=1e-6):
                differ[text] = read.dark_variance, ours[1]
        assert differ == {
            "dr7-40-004192-4-0300-i": (6.25, 7.5625),
            "dr7-40-004192-4-0300-z": (pytest.approx(9.61), 12.6025),
        }

    @pytest.mark.parametrize(
        ("place", "expected"),
        [
            ("001100-2-0011-u", (1.595, 12.6025)),
            ("001101-2-0011-u", (1.825, 12.6025)),
            ("001500-2-0011-i", (6.565, 5.76)),
            ("001501-2-0011-i", (6.565, 6.25)),
            ("001500-4-0011-z", (4.775, 9.61)),
            ("001501-4-0011-z", (4.775, 12.6025)),
            ("001501-5-0011-z", (3.48, 2.1025)),
            ("000094-6-0011-u", (2.17, 7.0225)),
        ],
    )
    def test_the_table_depends_on_the_run(self, place: str, expected: tuple[float, float]) -> None:
        assert tabulated(FrameId.parse(f"dr12-301-{place}")) == expected


class TestSeeing:
    def test_psfield_then_tsfield(self, shared_sdss: Path) -> None:
        beside = companions(shared_sdss, R_4192)
        width = fits.HDUList.fromstring(beside.psfield)[6].data["psf_width"][0][2]
        frame_id, content = FrameId.parse(R_4192), plain(shared_sdss, R_4192)
        assert full_frame(shared_sdss, R_4192).seeing == pytest.approx(width)
        assert read_frame(content, frame_id, replace(beside, psfield=None)).seeing == pytest.approx(width, rel=1e-3)
        assert np.isnan(read_frame(content, frame_id, replace(beside, psfield=None, tsfield=None)).seeing)

    def test_is_the_width_of_stars(self, shared_sdss: Path) -> None:
        assert {text: 1.0 < full_frame(shared_sdss, text).seeing < 1.9 for text in COUNTS if text != ALONE} == (
            dict.fromkeys(set(COUNTS) - {ALONE}, True)
        )


def planes_by_astropy(content: bytes) -> dict[str, np.ndarray]:
    """Each plane of an fpM file, painted span by span."""
    planes = {}
    with fits.HDUList.fromstring(content) as hdus:
        for _, name, number in hdus[-1].data[:-1]:
            plane = np.zeros((ROWS, COLUMNS), bool)
            table = hdus[number + 1].data
            for spans in table["s"] if len(table) else ():
                for row, first, last in np.frombuffer(np.asarray(spans).tobytes(), ">i2").reshape(-1, 3):
                    plane[row, first : last + 1] = True
            planes[name.removeprefix("S_MASK_")] = plane
    return planes


class TestMasks:
    @pytest.mark.parametrize("text", DR7)
    def test_planes(self, shared_sdss: Path, text: str) -> None:
        content, _ = opened(shared_sdss, text, "mask")
        expected, read = planes_by_astropy(content), full_frame(shared_sdss, text)
        assert len(expected) == 10
        assert read.saturated is not None
        assert np.array_equal(read.saturated, expected["SATUR"])
        assert np.array_equal(read.interpolated, expected["INTERP"] | expected["CR"])
        assert read.mask is None  # no ghosts in these
        assert read.saturated.any() == (text[-1] != "u")

    @pytest.mark.parametrize("text", DR7)
    def test_what_its_documentation_says_of_the_planes(self, shared_sdss: Path, text: str) -> None:
        planes = planes_by_astropy(companions(shared_sdss, text).mask)
        assert not (planes["CR"] & ~planes["INTERP"]).any()
        inside = planes["NOTCHECKED"][4:-4, 6:-6]
        near_saturated = planes["SATUR"][4:-4, 6:-6]
        assert not inside.any() or (inside & near_saturated).any()
        # Why no rule on the values can take the place of the plane: they have been interpolated.
        if text in FIELD_300 and planes["SATUR"].any():
            level = fits.HDUList.fromstring(companions(shared_sdss, text).tsfield)[1].data["saturation_level"][0]
            counts = frame(shared_sdss, text).data - 1000
            assert counts.max() < level[BANDS.index(text[-1])]
            assert np.median(counts[planes["SATUR"]]) < 0.2 * level[BANDS.index(text[-1])]

    def test_ghosts_are_masked(self, shared_sdss: Path) -> None:
        content, _ = opened(shared_sdss, R_4192, "mask")
        swapped = content.replace(b"S_MASK_GHOST".ljust(31, b"\0"), b"S_MASK_TMP".ljust(31, b"\0"))
        swapped = swapped.replace(b"S_MASK_CR".ljust(31, b"\0"), b"S_MASK_GHOST".ljust(31, b"\0"))
        swapped = swapped.replace(b"S_MASK_TMP".ljust(31, b"\0"), b"S_MASK_CR".ljust(31, b"\0"))
        assert swapped != content
        read = read_frame(plain(shared_sdss, R_4192), FrameId.parse(R_4192), Companions(mask=swapped))
        assert read.remarks == ()
        assert np.array_equal(read.mask, planes_by_astropy(content)["CR"])

    def test_nothing_is_known_without_it(self, shared_sdss: Path) -> None:
        read = frame(shared_sdss, R_4192)
        assert (read.mask, read.saturated, read.interpolated) == (None, None, None)

    def test_a_span_outside_the_frame(self, shared_sdss: Path) -> None:
        content, hdus = opened(shared_sdss, R_4192, "mask")
        info = hdus.fileinfo(2)
        at = info["datLoc"] + hdus[2].header["THEAP"]
        for value in (-1, 2048):
            damaged = content[: at + 4] + np.array(value, ">i2").tobytes() + content[at + 6 :]
            with pytest.raises(Irregular, match="outside the frame"):
                read_mask(damaged)

    def test_more_pixels_than_a_frame_has(self, shared_sdss: Path) -> None:
        """19,000 spans of whole rows: a few MB of file must not become GB of memory."""
        content, hdus = opened(shared_sdss, R_4192, "mask")
        info = hdus.fileinfo(1)
        at = info["datLoc"] + hdus[1].header["THEAP"]
        spans = hdus[1].header["PCOUNT"] // 6
        full = np.tile(np.array([7, 0, 2047], ">i2"), spans).tobytes()
        with pytest.raises(Irregular, match="more pixels than a frame has"):
            read_mask(content[:at] + full + content[at + len(full) :])


SENTENCES = {
    "tsfield": "tsField-004192-4-40-0300.fit was not used: ",
    "psfield": "psField-004192-4-0300.fit was not used: ",
    "mask": "fpM-004192-r4-0300.fit was not used: ",
}


def told(root: Path, text: str = R_4192, **contents: bytes | None) -> Frame:
    return read_frame(plain(root, text), FrameId.parse(text), Companions(**contents))


class TestCompanionsThatAreNoGood:
    @pytest.mark.parametrize("kind", SENTENCES)
    def test_of_another_field(self, shared_sdss: Path, kind: str) -> None:
        other = getattr(companions(shared_sdss, "dr7-40-005754-3-0280-r"), kind)
        read = told(shared_sdss, **{kind: other})
        assert len(read.remarks) == 1
        assert read.remarks[0].startswith(SENTENCES[kind] + "it is of run 5754, camcol 3, ")
        assert (read.calibration, read.noise_source, read.saturated) == ("FLUX20", "table", None)
        assert np.isnan(read.seeing)

    @pytest.mark.parametrize("kind", SENTENCES)
    @pytest.mark.parametrize("of", SENTENCES)
    def test_one_in_the_place_of_another(self, shared_sdss: Path, kind: str, of: str) -> None:
        read = told(shared_sdss, **{kind: getattr(companions(shared_sdss, R_4192), of)})
        assert (read.remarks == ()) == (kind == of)
        assert all(remark.startswith(SENTENCES[kind]) for remark in read.remarks)

    @pytest.mark.parametrize("kind", SENTENCES)
    @pytest.mark.parametrize("content", [b"", b"<html>no</html>", b"SIMPLE  =", b"\x1f\x8b\x08", b"SIMPLE  =" * 9000])
    def test_no_fits(self, shared_sdss: Path, kind: str, content: bytes) -> None:
        (remark,) = told(shared_sdss, **{kind: content}).remarks
        assert remark.startswith(SENTENCES[kind])
        assert remark.endswith(".")

    @pytest.mark.parametrize("kind", SENTENCES)
    def test_cut_short(self, shared_sdss: Path, kind: str) -> None:
        content = getattr(companions(shared_sdss, R_4192), kind)
        for end in (2880, 5760, len(content) // 2, len(content) // 2 // 2880 * 2880, len(content) - 2880):
            (remark,) = told(shared_sdss, **{kind: content[:end]}).remarks
            assert remark.startswith(SENTENCES[kind])

    @pytest.mark.parametrize("kind", SENTENCES)
    def test_flipped_bits_cost_at_most_the_companion(self, shared_sdss: Path, kind: str) -> None:
        whole = getattr(companions(shared_sdss, R_4192), kind)
        content, chance = bytearray(whole), random.Random(5)
        with fits.open(io.BytesIO(whole)) as hdus:
            headers = [hdus.fileinfo(i)["hdrLoc"] for i in range(len(hdus))]
        expected, left_aside = frame(shared_sdss, R_4192).data, 0
        for _ in range(60):
            position = chance.choice([chance.choice(headers) + chance.randrange(2880), chance.randrange(len(content))])
            before = content[position]
            content[position] ^= 1 << chance.randrange(8)
            read = told(shared_sdss, **{kind: bytes(content)})
            left_aside += bool(read.remarks)
            assert read.noise_source == "table" or 0 < read.gain < 1000
            content[position] = before
        assert np.array_equal(read.data, expected)
        assert left_aside > 0

    def test_tsfield_has_no_place_from_dr8(self, shared_sdss: Path) -> None:
        read = told(shared_sdss, FRAME, tsfield=companions(shared_sdss, R_4192).tsfield)
        assert read.remarks == ("tsField was not used: frames of dr12 are calibrated without one.",)

    def test_other_rerun(self, shared_sdss: Path) -> None:
        frame_id = replace(FrameId.parse(R_4192), rerun=41)
        read = read_frame(plain(shared_sdss, R_4192), frame_id, companions(shared_sdss, R_4192))
        assert len(read.remarks) == 1
        assert "it is of run 4192, camcol 4, rerun 40" in read.remarks[0]


def with_value(root: Path, kind: str, hdu: int, column: str, value: float) -> Companions:
    """The companions of one frame, with another value in one column of a table, for all bands."""
    beside = companions(root, R_4192)
    content = getattr(beside, kind)
    hdus = fits.open(io.BytesIO(content))
    info, columns = hdus.fileinfo(hdu), hdus[hdu].columns
    kind_of = hdus[hdu].data.dtype.fields[column]
    assert column in columns.names
    at = info["datLoc"] + kind_of[1]
    base, shape = kind_of[0].subdtype or (kind_of[0], (1,))
    new = np.full(shape, value, base.newbyteorder(">")).tobytes()
    return replace(beside, **{kind: content[:at] + new + content[at + len(new) :]})


class TestWhatSdssItselfSaysIsBad:
    def read(self, root: Path, kind: str, hdu: int, column: str, value: float) -> Frame:
        return read_frame(plain(root, R_4192), FrameId.parse(R_4192), with_value(root, kind, hdu, column, value))

    @pytest.mark.parametrize(("quality", "word"), [(1, "BAD"), (4, "MISSING"), (5, "HOLE")])
    def test_quality_of_the_field(self, shared_sdss: Path, quality: int, word: str) -> None:
        read = self.read(shared_sdss, "tsfield", 1, "quality", quality)
        assert read.remarks == (f"tsField says that the field is {word} (quality {quality}).",)
        assert read.calibration == "tsField"

    @pytest.mark.parametrize("quality", [2, 3])
    def test_good_quality(self, shared_sdss: Path, quality: int) -> None:
        assert self.read(shared_sdss, "tsfield", 1, "quality", quality).remarks == ()

    def test_no_zero_point(self, shared_sdss: Path) -> None:
        read = self.read(shared_sdss, "tsfield", 1, "aa", -9999.0)
        assert read.calibration == "FLUX20"
        assert read.remarks == ("tsField has no flux calibration for this frame.",)

    @pytest.mark.parametrize(("column", "value"), [("gain", -9999.0), ("gain", np.nan), ("dark_variance", -9999.0)])
    def test_no_gain(self, shared_sdss: Path, column: str, value: float) -> None:
        read = self.read(shared_sdss, "psfield", 6, column, value)
        assert (read.noise_source, read.gain) == ("table", 4.76)
        assert read.remarks == ("psField has no gain and dark variance for this frame.",)

    @pytest.mark.parametrize("status", [3, 4, 5, 6, 3 + 32])
    def test_the_psf_was_not_measured(self, shared_sdss: Path, status: int) -> None:
        read = self.read(shared_sdss, "psfield", 6, "status", status)
        assert read.remarks == (f"psField says that the PSF was not measured in this field (status {status}).",)
        tsfield = fits.HDUList.fromstring(companions(shared_sdss, R_4192).tsfield)
        assert read.seeing == pytest.approx(tsfield[1].data["psf_width"][0][2])

    @pytest.mark.parametrize("status", [1, 2, 32, 64 + 2])
    def test_a_psf_that_varies_less(self, shared_sdss: Path, status: int) -> None:
        read = self.read(shared_sdss, "psfield", 6, "status", status)
        assert read.remarks == ()
        assert read.seeing > 0

    def test_a_field_of_another_number_in_the_table(self, shared_sdss: Path) -> None:
        read = self.read(shared_sdss, "tsfield", 1, "field", 301)
        assert read.remarks == ("tsField-004192-4-40-0300.fit was not used: it is of field 301.",)

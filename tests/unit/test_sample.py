import bz2
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import sep
from astropy.io import fits
from astropy.wcs import WCS

from kira.errors import InvalidInput
from kira.frames import Companions, read_frame, unpack
from kira.sample import SampleSpec, write_sample
from kira.sample.__main__ import main
from kira.sample.camera import COLUMN_OFFSET, ROW_OFFSET, Detector
from kira.sample.fitsfile import columns, compress
from kira.sample.frame import float_compress
from kira.sample.geometry import solution
from kira.sample.header import wcs_cards
from kira.sample.optics import MARGIN, Psf, draw
from kira.sample.population import Profile, Sources, patch
from kira.sample.spec import archive_file, calibration_file, psfield_file
from kira.sample.strip import expose, strip_fields
from kira.sdss import FrameId, Release, Service
from kira.sdss.positions import FieldPositions

# SDSS writes RADECSYS, today's name is RADESYS.
pytestmark = pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")

SPARSE = SampleSpec(fields=1, bands=("r",), star_density=2_000.0, galaxy_density=4_000.0)
DR7, DR12 = Release(7), Release(12)
SHARED = Path(os.environ.get("KIRA_SHARED", Path(__file__).parents[3] / "shared")) / "sdss"


def real(path):
    """A real file of SDSS; without the folder a developer may go on, the project's own checks may not."""
    file = SHARED / path
    if not file.is_file():
        reason = f"REAL SDSS FILES ARE MISSING ({path}): the sample's structure was NOT compared. Set KIRA_SHARED."
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return file


def open_fits(path):
    """Open a file decompressed in one go, which is many times faster than astropy's way through a .bz2."""
    unpack = {".gz": gzip.decompress, ".bz2": bz2.decompress}.get(path.suffix, bytes)
    return fits.open(io.BytesIO(unpack(path.read_bytes())))


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    told = []
    report = write_sample(SPARSE, folder, processes=2, progress=lambda *numbers: told.append(numbers))
    assert (report.frames, report.written, report.skipped) == (2, 11, 0)
    assert told == [(2, 2)]
    return folder


@pytest.fixture(scope="module")
def paths(folder):
    frames = {release: SPARSE.frame(release, 3, 11, "r") for release in SPARSE.releases}
    return {
        "fpC": folder / archive_file(frames[DR7]),
        "tsField": folder / calibration_file(frames[DR7]),
        "psField": folder / psfield_file(frames[DR12]),
        "frame": folder / archive_file(frames[DR12]),
        "photoObj": folder / calibration_file(frames[DR12]),
        "truth": folder / "truth/truth-009001-3.parquet",
        "runList": folder / "sas/dr12/boss/photo/redux/runList.par",
    }


@pytest.fixture(scope="module")
def hdus(paths):
    out = {}
    for name in ("fpC", "tsField", "psField", "frame", "photoObj"):
        with open_fits(paths[name]) as opened:
            out[name] = [(hdu.header.copy(), hdu.data) for hdu in opened]
    return out


@pytest.fixture(scope="module")
def bright(paths):
    """True stars of the field, bright but not saturated, with no other source as bright as a hundredth near them."""
    table = pq.read_table(paths["truth"])
    truth = {name: table[name].to_numpy() for name in table.column_names}
    row, col, flux = truth["row"] - 1361 * 11, truth["col"], truth["flux_r"]
    chosen = []
    for i in np.flatnonzero((truth["kind"] == "star") & (flux > 50) & (flux < 900)):
        inside = 40 < row[i] < 1449 and 40 < col[i] < 2008
        near = (np.hypot(row - row[i], col - col[i]) < 30) & (flux > flux[i] / 100)
        if inside and near.sum() == 1:
            chosen.append(i)
    return {name: values[chosen] for name, values in truth.items()}


def detections(pixels):
    """Sources by Kira's parameters, with their Kron fluxes, all in the pixels' unit."""
    data = np.ascontiguousarray(pixels, dtype=np.float32)
    background = sep.Background(data)
    data -= background.back()
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=np.float32)
    found = sep.extract(data, 1.5, err=background.globalrms, minarea=5, filter_kernel=kernel)
    flux, _, _ = sep.sum_circle(data, found["x"], found["y"], 14.0)
    return found, flux


def nearest(found, x, y):
    distance = np.hypot(found["x"] - x[:, None], found["y"] - y[:, None])
    return distance.argmin(axis=1), distance.min(axis=1)


def test_same_specification_gives_same_bytes_whatever_the_number_of_processes(folder, tmp_path):
    write_sample(SPARSE, tmp_path, processes=1)
    first, second = contents(folder), contents(tmp_path)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_files_lie_where_the_archives_have_them(folder):
    assert sorted(contents(folder)) == [
        "das/imaging/9001/40/calibChunks/3/tsField-009001-3-40-0011.fit",
        "das/imaging/9001/40/corr/3/fpC-009001-r3-0011.fit.gz",
        "das/imaging/9001/40/corr/3/frames-9001-3.sha1sum",
        "das/imaging/9001/40/objcs/3/psField-009001-3-0011.fit",
        "sample.json",
        "sas/dr12/boss/photo/redux/301/9001/objcs/3/psField-009001-3-0011.fit",
        "sas/dr12/boss/photo/redux/runList.par",
        "sas/dr12/boss/photoObj/301/9001/3/photoObj-009001-3-0011.fits",
        "sas/dr12/boss/photoObj/frames/301/9001/3/frame-r-009001-3-0011.fits.bz2",
        "sas/dr12/boss/photoObj/frames/301/9001/3/frames-9001-3.sha1sum",
        "sas/dr12/boss/resolve/2010-05-23/window_flist.fits",
        "truth/truth-009001-3.parquet",
    ]


def test_checksums_are_those_of_the_frames(folder):
    """`sha1sum` itself finds them right."""
    for path in folder.rglob("*.sha1sum"):
        done = subprocess.run(["sha1sum", "--check", "--strict", path.name], cwd=path.parent, check=False, text=True,
                              capture_output=True)  # fmt: skip
        assert (done.returncode, done.stdout.count(": OK")) == (0, 1), done.stderr


def test_list_of_fields_tells_where_they_are(folder, hdus):
    positions = FieldPositions.read(folder / "sas/dr12/boss/resolve/2010-05-23/window_flist.fits")
    assert [values.tolist() for values in (positions.run, positions.rerun, positions.camcol, positions.field)] == [
        [9001], [301], [3], [11],
    ]  # fmt: skip
    ra, dec = WCS(hdus["frame"][0][0]).pixel_to_world_values(1023.5, 744)
    assert positions.ra[0] == pytest.approx(float(ra), abs=1e-4)
    assert positions.dec[0] == pytest.approx(float(dec), abs=1e-4)


@pytest.mark.parametrize("later", [("sha1sum", "flist.fits"), ("psField-009001-3-0011.fit",)])
def test_sample_of_before_there_were_lists_is_written_again(folder, tmp_path, later):
    shutil.copytree(folder, tmp_path / "old")
    marker = tmp_path / "old" / "sample.json"
    known = json.loads(marker.read_text())
    for path in [path for path in known["files"] if path.endswith(later)]:
        del known["files"][path]
        (tmp_path / "old" / path).unlink()
    marker.write_text(json.dumps(known))
    assert write_sample(SPARSE, tmp_path / "old", processes=1).skipped == 0
    assert contents(tmp_path / "old") == contents(folder)


def test_second_write_skips_and_damage_is_mended(tmp_path):
    spec = SampleSpec(fields=1, bands=("u",), releases=(DR7,), star_density=0, galaxy_density=0)
    told = []
    first = write_sample(spec, tmp_path, processes=1, progress=lambda done, total: told.append((done, total)))
    assert (first.frames, first.written, first.skipped) == (1, 5, 0)
    assert told == [(1, 1)]
    again = write_sample(spec, tmp_path, processes=1)
    assert (again.written, again.skipped, again.size) == (0, 5, first.size)

    marker = json.loads((tmp_path / "sample.json").read_text())
    before = contents(tmp_path)
    for path, file in marker["files"].items():
        assert hashlib.sha256(before[path]).hexdigest() == file["sha256"]
    frame = tmp_path / archive_file(spec.frame(DR7, 3, 11, "u"))
    frame.write_bytes(frame.read_bytes()[:1000])
    assert write_sample(spec, tmp_path, processes=1).written == 5
    assert contents(tmp_path) == before


def test_another_specification_replaces_the_first_and_nothing_else(tmp_path):
    kept = tmp_path / "das/README"
    kept.parent.mkdir()
    kept.write_text("mine")
    spec = SampleSpec(fields=1, bands=("u",), releases=(DR7,), star_density=0, galaxy_density=0)
    write_sample(spec, tmp_path, processes=1)
    other = SampleSpec(run=9002, fields=1, bands=("u",), releases=(DR7,), star_density=0, galaxy_density=0)
    write_sample(other, tmp_path, processes=1)
    assert kept.read_text() == "mine"
    assert not [p for p in contents(tmp_path) if "9001" in p]


@pytest.mark.parametrize("name", ["fpC", "tsField", "psField", "frame", "photoObj"])
def test_every_header_says_synthetic(hdus, name):
    header = hdus[name][0][0]
    assert header["SYNTHET"] is True
    assert header.comments["SYNTHET"] == "Simulated by Kira, not an observation"
    assert header["SIMSEED"] == SPARSE.seed
    assert header["SIMVERS"]
    assert "SYNTHETIC" in str(header["COMMENT"])
    assert header.get("ORIGIN", "Kira simulation") == "Kira simulation"


def test_truth_and_run_list_say_synthetic(paths):
    assert pq.read_schema(paths["truth"]).metadata[b"synthetic"] == b"true"
    text = paths["runList"].read_text()
    assert "SYNTHETIC" in text
    assert "\nRUNDATA 9001 301 1 1 1 0011 0011 unknown unknown\n" in text


REAL = {
    "fpC": "das/imaging/4192/40/corr/4/fpC-004192-r4-0300.fit.gz",
    "tsField": "das/imaging/4192/40/calibChunks/4/tsField-004192-4-40-0300.fit",
    "frame": "sas/dr12/boss/photoObj/frames/301/2583/2/frame-r-002583-2-0136.fits.bz2",
    "photoObj": "sas/dr12/boss/photoObj/301/94/1/photoObj-000094-1-0012.fits",
}


def kind(value):
    return float if isinstance(value, float) else type(value)


@pytest.mark.parametrize("name", REAL)
def test_structure_is_that_of_the_real_file(hdus, name):
    ours = hdus[name]
    with open_fits(real(REAL[name])) as theirs:
        assert len(ours) == len(theirs)
        for number, (header, data) in enumerate(ours):
            expected = theirs[number].header
            added = list(header)[len(expected) :]
            assert list(header)[: len(expected)] == list(expected)
            assert added == (["SYNTHET", "SIMSEED", "SIMVERS", "COMMENT", "COMMENT"] if number == 0 else [])
            types = {k: (kind(header[k]), kind(expected[k])) for k in expected if k not in ("COMMENT", "HISTORY")}
            assert {k: pair for k, pair in types.items() if pair[0] is not pair[1]} == {}
            structural = ("XTENSION", "BITPIX", "NAXIS", "NAXIS1", "TFIELDS", "TFORM", "TTYPE", "TDIM", "TUNIT")
            same = [k for k in expected if k.startswith(structural) and (name, k) != ("photoObj", "NAXIS2")]
            assert [header[k] for k in same] == [expected[k] for k in same]
            if data is not None:
                assert data.dtype == theirs[number].data.dtype
                assert data.dtype.names or data.shape == theirs[number].data.shape


def test_tables_of_psfield_are_those_of_the_real_file(hdus):
    with open_fits(real("sas/dr12/boss/photo/redux/301/94/objcs/1/psField-000094-1-0012.fit")) as theirs:
        assert len(hdus["psField"]) == 7 < len(theirs)
        for number in range(1, 7):
            ours, expected = hdus["psField"][number][0], theirs[number].header
            structural = [k for k in expected if k.startswith(("TFORM", "TTYPE", "TDIM", "TFIELDS", "NAXIS1"))]
            assert {k: ours[k] for k in structural} == {k: expected[k] for k in structural}
        primary = hdus["psField"][0][0]
        assert {k: kind(primary[k]) for k in theirs[0].header if k in primary} == {
            k: kind(v) for k, v in theirs[0].header.items() if k in primary
        }


@pytest.mark.parametrize("release", [DR7, DR12])
def test_companions_tell_the_reader_what_the_simulation_did(folder, release):
    """The reader of real frames finds the noise, seeing and calibration that the pixels were made with."""
    frame_id = SPARSE.frame(release, 3, 11, "r")
    beside = {"psfield": (folder / psfield_file(frame_id)).read_bytes()}
    if frame_id.tsfield_path:
        beside["tsfield"] = (folder / frame_id.release.service / frame_id.tsfield_path).read_bytes()
    path = folder / archive_file(frame_id)
    frame = read_frame(unpack(path.read_bytes(), path.name), frame_id, Companions(**beside))
    detector = Detector(SPARSE, 3, "r")
    assert (frame.remarks, frame.synthetic, frame.noise_source) == ((), True, "psField")
    assert [frame.gain, frame.dark_variance] == pytest.approx([detector.gain, detector.dark_variance])
    assert frame.seeing == pytest.approx(detector.seeing(11))
    assert frame.calibration == ("tsField" if release == DR7 else "frame")
    assert frame.nmgy == pytest.approx(detector.nanomaggies_per_count if release == DR7 else 1.0, rel=1e-5)
    background = sep.Background(frame.data)
    assert np.median(frame.noise) == pytest.approx(background.globalrms, rel=0.03)


def test_run_list_has_the_real_one_s_form(paths):
    theirs = real("lists/runList-dr10.par").read_text()
    ours = paths["runList"].read_text()
    start, end = "typedef struct {", "} RUNDATA;"
    assert ours[ours.index(start) : ours.index(end)] == theirs[theirs.index(start) : theirs.index(end)]


@pytest.mark.parametrize("name", ["fpC", "frame"])
def test_compression_is_the_real_files(paths, name):
    assert paths[name].read_bytes()[:2] == real(REAL[name]).read_bytes()[:2]


def test_gzip_holds_neither_time_nor_name():
    data = compress(b"kira" * 100, "a.fit.gz")
    assert data[:4] == b"\x1f\x8b\x08\x00"
    assert data[4:8] == b"\0\0\0\0"
    assert gzip.decompress(data) == b"kira" * 100


def test_fields_overlap_by_128_identical_rows():
    spec = SampleSpec(fields=2, star_density=500, galaxy_density=500)
    (first, upper), (second, lower) = strip_fields(spec, 3, "r")
    assert (first, second) == (11, 12)
    assert upper.shape == lower.shape == (1489, 2048)
    assert upper.dtype == np.uint16
    np.testing.assert_array_equal(upper[1361:], lower[:128])
    assert (upper[:128] != lower[:128]).any()


def test_the_sky_does_not_depend_on_run_or_extent():
    one, other = patch(SPARSE, 3, 11), patch(SampleSpec(run=9002, first_field=10, fields=5, star_density=2_000.0,
                                                        galaxy_density=4_000.0), 3, 11)  # fmt: skip
    np.testing.assert_array_equal(one.flux, other.flux)
    assert not np.array_equal(one.flux[:5], patch(SPARSE, 4, 11).flux[:5])


def test_tsfield_calibrates_fpc_as_its_header_does(hdus):
    row = hdus["tsField"][1][1][0]
    band = 2
    exponent = 0.4 * (row["aa"][band] + row["kk"][band] * row["airmass"][band])
    header = hdus["fpC"][0][0]
    assert pytest.approx(header["FLUX20"] / 53.907456 * 10**exponent, rel=1e-5) == 1e-8
    assert hdus["frame"][0][0]["NMGY"] == pytest.approx(10 / header["FLUX20"])
    detector = Detector(SPARSE, 3, "r")
    assert row["gain"][band] == np.float32(detector.gain)
    assert row["mjd"][band] == pytest.approx(header["TAI"] / 86400, abs=1e-6)


def test_fpc_and_frame_tell_the_same_counts(hdus):
    image, calibration, sky = (hdus["frame"][i][1] for i in range(3))
    x, y = sky["XINTERP"][0], sky["YINTERP"][0]
    grid = sky["ALLSKY"][0]
    assert grid.shape == (192, 256)
    rows = np.array([np.interp(y, np.arange(192), grid[:, i]) for i in range(256)]).T
    level = np.array([np.interp(x, np.arange(256), r) for r in rows])
    counts = image / calibration + level + 1000
    # The frame's ten binary digits are 1/2048 of what is left after the sky; beyond column 4 np.interp would not hold.
    difference = np.abs(counts - hdus["fpC"][0][1].astype(float))[:, 4:-4]
    assert (difference < 0.05 + np.abs(image / calibration)[:, 4:-4] / 1024).all()


def test_float_compress_keeps_ten_binary_digits():
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    rounded = float_compress(values)
    mantissa = np.frexp(rounded)[0] * 1024
    np.testing.assert_array_equal(mantissa, np.rint(mantissa))
    np.testing.assert_allclose(rounded, values, rtol=1 / 1024)
    assert float_compress(np.zeros(3))[0] == 0


@pytest.mark.parametrize("name", ["fpC", "frame"])
def test_sep_finds_the_true_stars_where_and_as_bright_as_they_are(hdus, bright, name):
    header, pixels = hdus[name][0]
    found, flux = detections(pixels)
    x, y = WCS(header, fix=False).all_world2pix(bright["ra"], bright["dec"], 0)
    index, distance = nearest(found, x, y)
    assert len(index) >= 5
    assert np.median(distance) < 0.1
    assert (distance < 0.5).all()
    scale = 10 / header["FLUX20"] if name == "fpC" else 1.0
    ratio = flux[index] * scale / bright["flux_r"]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.03)
    assert (np.abs(ratio - 1) < 0.1).all()


def test_both_layouts_give_the_same_nanomaggies(hdus, bright):
    fluxes = []
    for name in ("fpC", "frame"):
        header, pixels = hdus[name][0]
        data = pixels.astype(np.float32)
        data -= sep.Background(data).back()
        x, y = WCS(header, fix=False).all_world2pix(bright["ra"], bright["dec"], 0)
        flux, _, _ = sep.sum_circle(data, x, y, 8.0)
        fluxes.append(flux * (10 / header["FLUX20"] if name == "fpC" else 1.0))
    np.testing.assert_allclose(fluxes[0], fluxes[1], rtol=5e-3)


def test_noise_is_what_gain_and_dark_variance_say(hdus):
    background = sep.Background(hdus["fpC"][0][1].astype(np.float32))
    detector = Detector(SPARSE, 3, "r")
    sky = background.globalback - 1000
    assert sky == pytest.approx(hdus["fpC"][0][0]["SKY"], rel=0.01)
    assert background.globalrms == pytest.approx(np.sqrt(sky / detector.gain + detector.dark_variance), rel=0.03)


def test_the_astrometric_solution_is_the_truth_s(paths, hdus):
    """To rounding, where the tangent plane of the header is up to 0.03 pixels off."""
    name, rows = paths["frame"].name, hdus["photoObj"][1][1]
    frame = read_frame(unpack(paths["frame"].read_bytes(), name), FrameId.from_file_name(name, DR12, 301))
    assert (frame.astrometry, frame.remarks) == ("asTrans", ())
    ra, dec = frame.sky_positions(rows["COLC"][:, 2] - 0.5, rows["ROWC"][:, 2] - 0.5)
    # photoObj's pixels are float32: 1e-4 pixels are 1e-8 degrees
    np.testing.assert_allclose(ra, rows["RA"], rtol=0, atol=2e-8)
    np.testing.assert_allclose(dec, rows["DEC"], rtol=0, atol=2e-8)


def test_photoobj_lists_the_truth(hdus, bright):
    rows = hdus["photoObj"][1][1]
    header = hdus["frame"][0][0]
    x, y = WCS(header, fix=False).all_world2pix(rows["RA"], rows["DEC"], 0)
    # SDSS puts 0.5 at the centre of the first pixel; the tangent plane departs from the scan by 0.03 pixels.
    np.testing.assert_allclose(x, rows["COLC"][:, 2] - 0.5, atol=0.05)
    np.testing.assert_allclose(y, rows["ROWC"][:, 2] - 0.5, atol=0.05)
    assert set(rows["OBJC_TYPE"]) == {3, 6}
    index, distance = nearest({"x": rows["RA"], "y": rows["DEC"]}, bright["ra"], bright["dec"])
    assert (distance < 1e-9).all()
    np.testing.assert_allclose(rows["PSFFLUX"][index, 2], bright["flux_r"], rtol=1e-5)
    np.testing.assert_allclose(rows["MODELMAG"][index, 2], 22.5 - 2.5 * np.log10(bright["flux_r"]), atol=1e-3)
    assert len(set(rows["OBJID"])) == len(rows)
    first = int(rows["OBJID"][0])
    assert (first >> 59, first >> 48 & 2047, first >> 32 & 65535, first >> 29 & 7, first >> 16 & 4095) == (
        2, 301, 9001, 3, 11,
    )  # fmt: skip
    primary = rows["MODE"] == 1
    assert ((rows["RESOLVE_STATUS"] & 256 > 0) == primary).all()
    assert (rows["ROWC"][primary, 2] >= 64).all()


def test_bands_have_their_own_pixels_for_one_place_on_the_sky():
    ra, dec = solution(3, 11, "r").sky(700.0, 1000.0)
    for band in "ugriz":
        there = solution(3, 11, band).sky(700.0 + ROW_OFFSET[band], 1000.0 + COLUMN_OFFSET[band])
        np.testing.assert_allclose(there, (ra, dec), atol=1e-10)


def test_neighbouring_fields_agree_on_the_sky():
    np.testing.assert_allclose(solution(3, 11, "g").sky(1361.0, 5.0), solution(3, 12, "g").sky(0.0, 5.0), atol=1e-10)


@pytest.mark.parametrize("crpix", [(1024.5, 744.5), (1025.0, 745.0)])
@pytest.mark.parametrize("camcol", range(1, 7))
def test_tangent_plane_follows_the_scan(camcol, crpix):
    header = fits.Header([fits.Card(*card) for card in wcs_cards(Detector(SPARSE, camcol, "g"), 11, crpix)])
    x, y = (a.ravel() for a in np.meshgrid([0.0, 1000.0, 2047.0], [0.0, 700.0, 1488.0]))
    ra, dec = solution(camcol, 11, "g").sky(y, x)
    there = WCS(header, fix=False).all_world2pix(ra, dec, 0)
    np.testing.assert_allclose(there, (x, y), atol=0.04)


def test_psf_has_the_width_that_it_claims():
    psf = Psf(1.3)
    assert sum(psf.fractions) == pytest.approx(1.0)
    assert psf.optical.calculateFWHM() * 0.396 == pytest.approx(1.3, rel=0.005)


def one_source(profile, electrons, **shape):
    """Light of a single source at row 700.3, column 1000.6 of a patch without noise; moments about that place."""
    values = {"half_light_radius": 0.0, "axis_ratio": 1.0, "position_angle": 0.0} | shape
    source = Sources(
        ident=np.array([1]), profile=np.array([profile], dtype=np.int8), row=np.array([700.3]), col=np.array([1000.6]),
        ra=np.zeros(1), dec=np.zeros(1), flux=np.zeros((1, 5)), **{k: np.array([v]) for k, v in values.items()},
    )  # fmt: skip
    light = draw(source, np.array([electrons]), (0.0, 0.0), Psf(1.3), np.random.SeedSequence(1))
    image = light.expected + light.counted
    total, image = image.sum(), image[MARGIN + 660 : MARGIN + 741, 960:1041]
    dy, dx = np.mgrid[660:741, 960:1041] - np.array([700.3, 1000.6])[:, None, None]
    near = image * (np.hypot(dx, dy) < 40) / total
    return total, *(float((near * m).sum()) for m in (dx, dy, dx * dx, dy * dy, dx * dy))


@pytest.mark.parametrize(
    ("profile", "shape", "kept"),
    [
        (Profile.POINT, {}, 0.002),
        (Profile.EXPONENTIAL, {"half_light_radius": 2.0, "axis_ratio": 0.5, "position_angle": 30.0}, 0.005),
        (Profile.DE_VAUCOULEURS, {"half_light_radius": 1.5, "axis_ratio": 0.6, "position_angle": 120.0}, 0.01),
    ],
)
def test_photons_and_convolution_draw_the_same_source(profile, shape, kept, monkeypatch):
    electrons = 4e5
    drawn = one_source(profile, electrons, **shape)
    monkeypatch.setattr("kira.sample.optics.PHOTON_LIMIT", 1e9)
    shot = one_source(profile, electrons, **shape)
    assert drawn[0] == pytest.approx(electrons, rel=kept)
    assert shot[0] == pytest.approx(electrons, rel=0.005)
    np.testing.assert_allclose(drawn[1:3], 0.0, atol=0.02)
    np.testing.assert_allclose(shot[1:3], 0.0, atol=0.05)
    np.testing.assert_allclose(drawn[3:], shot[3:], rtol=0.03, atol=0.1)
    if shape:
        # north (columns) through east (rows): the major axis lies at the position angle from +x towards +y
        xx, yy, xy = drawn[3:]
        angle = np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)) % 180
        assert angle == pytest.approx(shape["position_angle"], abs=1.0)


def test_full_well_and_sixteen_bits_hold():
    spec = SampleSpec(fields=1, star_density=20_000, galaxy_density=0)
    ((_, pixels),) = strip_fields(spec, 3, "i")
    assert pixels.max() == 24_653  # full well of i, and the software bias


def test_charge_beyond_the_full_well_bleeds_along_its_column():
    spec = SampleSpec(fields=1)
    detector = Detector(spec, 3, "r")
    expected = np.zeros((400, 2048))
    expected[200, 1000] = 20 * 43_653 * detector.gain
    pixels = expose(detector, 11, expected, np.zeros_like(expected)).astype(float) - 1000
    trail = np.flatnonzero(pixels[:, 1000] > 40_000)
    assert len(trail) == pytest.approx(20, abs=1)
    assert trail.mean() == pytest.approx(200, abs=1)
    assert (pixels[:, [999, 1001]] < 1000).all()
    assert pixels[100:300, 1000].sum() == pytest.approx(20 * 43_653 + 200 * np.median(pixels), rel=0.01)


def test_column_lists_are_complete():
    assert len(columns("tsField")) == 98
    assert len(columns("psField")) == 29
    assert len(columns("photoObj")) == 139


@pytest.mark.parametrize(
    "wrong",
    [
        {"run": 8162}, {"run": 94}, {"seed": -1}, {"fields": 0}, {"first_field": 0}, {"camcols": ()}, {"camcols": (7,)},
        {"camcols": (1, 1)}, {"bands": ()}, {"bands": ("y",)}, {"releases": ()}, {"star_density": -1.0},
    ],
)  # fmt: skip
def test_a_specification_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(InvalidInput):
        SampleSpec(**wrong)


def test_frames_are_those_of_the_layouts():
    frames = list(SampleSpec(camcols=(1, 2), fields=3).frames())
    assert len(frames) == len(set(frames)) == 2 * 2 * 3 * 5
    assert {f.rerun for f in frames if f.release.service is Service.DAS} == {40}
    assert all(FrameId.from_archive_path(f.archive_path, f.release) == f for f in frames)


def test_command_line(tmp_path, capsys):
    words = [str(tmp_path), "--fields", "1", "--bands", "u", "--releases", "dr7", "--processes", "1"]
    assert main([*words, "--star-density", "0", "--galaxy-density", "0"]) == 0
    assert "1 synthetic frames, 5 files written" in capsys.readouterr().out
    assert main([*words, "--run", "94"]) == 2
    assert "8163" in capsys.readouterr().err

from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sep
from astropy.io import fits
from astropy.wcs import WCS
from real_frames import COUNTS, FPC, FRAME, M2, extraction, frame

from kira.errors import ExtractionFailed, InvalidInput
from kira.extraction import COLUMNS, Flag, Parameters, Profile, extract
from kira.extraction.buffers import Buffers
from kira.extraction.columns import DETECTION
from kira.extraction.profile import DEFAULT_ENGINE
from kira.frames import Frame
from kira.sdss import FrameId

KIRA = Parameters()


def tan_wcs() -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [-1.1e-4, 1.1e-4]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0, 2.0], [100.5, 100.5]
    return wcs


def field(stars: list[tuple[float, float, float]], shape: tuple[int, int] = (200, 300)) -> Frame:
    """Noise of rms 1 around 100, and round stars: x, y, flux."""
    data = np.random.default_rng(7).normal(100, 1, shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for x0, y0, flux in stars:
        data += flux / (2 * np.pi * 1.5**2) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * 1.5**2))
    return Frame(None, data.astype(np.float32), tan_wcs())


STARS = [(50.0, 40.0, 5000.0), (210.25, 150.5, 3000.0), (120.0, 100.0, 1000.0)]


def test_an_image_without_coordinates_is_measured_all_the_same() -> None:
    table = extract(replace(field(STARS), wcs=None), Parameters()).table
    assert len(table) == 3
    assert np.isnan(table["ra"]).all()
    assert np.isnan(table["dec"]).all()
    assert np.isfinite(table["flux_circle"]).all()


# The crowded field takes as long as all others together: it runs with the slower tests.
@pytest.mark.parametrize("text", [pytest.param(t, marks=pytest.mark.integration) if t == M2 else t for t in COUNTS])
def test_counts_of_real_frames(shared_sdss: Path, text: str) -> None:
    found = extraction(shared_sdss, text)
    assert found.n_sources == len(found.table) == COUNTS[text]
    table = found.table
    assert table.dtype == COLUMNS
    assert found.rms > 0
    assert found.seconds > 0
    for name in ("x", "y", "ra", "dec", "flux_circle", "kron_radius", "flux_ellipse", "fluxerr_ellipse", "errx2"):
        assert np.isfinite(table[name]).all(), name
    assert (np.abs(table["theta"]) <= np.pi / 2).all()
    assert (table["fluxerr_circle"] > 0).all()


@pytest.mark.integration
def test_a_crowded_field_from_seps_own_limits(shared_sdss: Path) -> None:
    """SEP's defaults are too small for M2 in both ways."""
    found = extract(frame(shared_sdss, M2), replace(KIRA, pixstack=300_000, sub_object_limit=1024))
    assert found.raised
    assert found.limits == Buffers(1_200_000, 4096)
    wanted = extraction(shared_sdss, M2).table
    assert np.array_equal(found.table["flag_extract"], wanted["flag_extract"] | Flag.CROWDED_LIMITS_RAISED)
    for name in set(COLUMNS.names or ()) - {"flag_extract"}:
        assert np.array_equal(found.table[name], wanted[name], equal_nan=True), name


def as_published(data: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What Kira ran (FACTS of Zhang et al. 2015), but for the angle, which made it raise on some frames."""
    background = sep.Background(data)
    pixels = data - background
    objects = sep.extract(pixels, 1.5 * background.globalrms)
    theta = np.clip(objects["theta"], -np.pi / 2, np.pi / 2)
    ellipse = (objects["x"], objects["y"], objects["a"], objects["b"], theta)
    flux, _, flag = sep.sum_circle(pixels, objects["x"], objects["y"], 5.0)
    kron, kron_flag = sep.kron_radius(pixels, *ellipse, 6.0)
    kron_flux, _, ellipse_flag = sep.sum_ellipse(pixels, *ellipse, 2.5 * kron, subpix=1)
    return objects, {
        "theta": theta,
        "flag_extract": objects["flag"],
        "flux_circle": flux,
        "flag_circle": flag,
        "kron_radius": kron,
        "flag_kron": kron_flag,
        "flux_ellipse": kron_flux,
        "flag_ellipse": ellipse_flag,
    }


@pytest.mark.parametrize("text", [FPC, FRAME, "dr7-40-004192-4-0300-i", "dr12-301-000094-1-0012-r"])
def test_every_number_is_bit_for_bit_that_of_kira(shared_sdss: Path, text: str) -> None:
    table = extraction(shared_sdss, text).table
    objects, photometry = as_published(frame(shared_sdss, text).data)
    new = {"errx2", "erry2", "errxy", "theta"}
    for name in set(DETECTION.names or ()) - new:
        assert np.array_equal(table[name], objects[name]), name
    for name, values in photometry.items():
        assert np.array_equal(table[name], values), name


def test_an_angle_above_a_right_one_does_not_raise(shared_sdss: Path) -> None:
    data = frame(shared_sdss, FRAME).data
    background = sep.Background(data)
    raw = sep.extract(data - background, 1.5 * background.globalrms)
    assert (raw["theta"] > np.pi / 2).any()  # the frame really has the trap
    with pytest.raises(Exception, match="invalid aperture parameters"):
        sep.sum_ellipse(data, raw["x"], raw["y"], raw["a"], raw["b"], raw["theta"], 1.0)
    assert extraction(shared_sdss, FRAME).n_sources == COUNTS[FRAME]


def offsets(found: Any, wcs: WCS, ra: np.ndarray, dec: np.ndarray) -> tuple[float, float, int]:
    """Median offset in x and y of clean detections from a reference, pixels, and how many match within 4 px."""
    centre_ra, centre_dec = wcs.all_pix2world(1024, 744, 0)
    near = (np.abs((ra - centre_ra + 180) % 360 - 180) < 0.3) & (np.abs(dec - centre_dec) < 0.3)
    ra, dec = ra[near], dec[near]
    table = found.table[(found.table["flag_extract"] == 0) & (found.table["npix"] > 12)]
    east = ((table["ra"][:, None] - ra + 180) % 360 - 180) * np.cos(np.radians(centre_dec)) * 3600 / 0.396
    north = (table["dec"][:, None] - dec) * 3600 / 0.396
    nearest = np.argmin(np.hypot(east, north), axis=1)
    rows = np.arange(len(table))
    east, north = east[rows, nearest], north[rows, nearest]
    match = np.hypot(east, north) < 4
    return float(np.median(east[match])), float(np.median(north[match])), int(match.sum())


def test_sky_coordinates_against_references(shared_sdss: Path) -> None:
    """Half a pixel of offset, the usual mistake, would show."""
    stars = fits.getdata(shared_sdss / "reference" / "stripe82-stars.fits")
    frame_id = FrameId.parse("dr12-301-000094-1-0012-r")
    objects = fits.getdata(shared_sdss / "sas" / frame_id.calibration_path)
    for text, ra, dec, least in (
        ("dr7-40-004192-4-0300-r", stars["ra"], stars["dec"], 80),
        (str(frame_id), objects["RA"], objects["DEC"], 400),
    ):
        wcs = frame(shared_sdss, text).wcs
        east, north, n = offsets(extraction(shared_sdss, text), wcs, np.array(ra), np.array(dec))
        assert n > least
        assert max(abs(east), abs(north)) < 0.1


@pytest.mark.filterwarnings("ignore")  # cards of 1993
def test_sextractors_own_catalogue(shared_sdss: Path) -> None:
    folder = shared_sdss.parent / "fits" / "sextractor"
    reference = np.loadtxt(folder / "image.cat")
    data = fits.getdata(folder / "image.fits", ignore_missing_end=True).astype(np.float32)
    found = extract(Frame(None, data, tan_wcs()), replace(KIRA, deblend_contrast=1.0))
    assert found.n_sources == len(reference) == 65
    table = found.table[np.argsort(found.table["y"])]
    reference = reference[np.argsort(reference[:, 2])]
    # Columns of image.cat: 2 X_IMAGE, 3 Y_IMAGE (from 1), 6 to 8 second moments, 12 A_IMAGE.
    for name, column, shift in (("x", 2, 1), ("y", 3, 1), ("x2", 6, 0), ("y2", 7, 0), ("xy", 8, 0), ("a", 12, 0)):
        assert np.allclose(table[name] + shift, reference[:, column - 1], rtol=2e-3, atol=1e-3), name
    assert np.abs(table["x"] + 1 - reference[:, 1]).max() < 1e-4
    assert np.abs(table["y"] + 1 - reference[:, 2]).max() < 1e-4


def test_known_stars() -> None:
    found = extract(field(STARS), KIRA)
    assert found.n_sources == 3
    assert found.background == pytest.approx(100, abs=0.2)
    assert found.rms == pytest.approx(1, abs=0.1)
    for x, y, flux in STARS:
        row = found.table[np.argmin(np.hypot(found.table["x"] - x, found.table["y"] - y))]
        assert np.hypot(row["x"] - x, row["y"] - y) < 0.15
        assert row["flux_circle"] == pytest.approx(flux, rel=0.05)
        assert row["flux_ellipse"] == pytest.approx(flux, rel=0.05)
        # Noise of rms 1 in a circle of 5 px: the square root of its area.
        assert row["fluxerr_circle"] == pytest.approx(found.rms * np.sqrt(np.pi * 25), rel=0.02)
        assert (row["ra"], row["dec"]) == pytest.approx(
            tuple(map(float, tan_wcs().all_pix2world(row["x"], row["y"], 0)))
        )
    assert np.array_equal(extract(field(STARS), KIRA).table, found.table)


def test_a_frame_without_coordinates() -> None:
    image = replace(field(STARS), wcs=None)
    found = extract(image, KIRA).table
    assert np.isnan(found["ra"]).all()
    assert np.isnan(found["dec"]).all()
    assert np.array_equal(found["flux_ellipse"], extract(field(STARS), KIRA).table["flux_ellipse"])


def test_kira_masks_nothing_but_what_is_no_number() -> None:
    """The reference's numbers do not depend on what is learned of a frame beside its pixels."""
    image = field(STARS)
    all_masked = replace(image, mask=np.ones(image.shape, dtype=bool), saturated=np.ones(image.shape, dtype=bool))
    assert np.array_equal(extract(all_masked, KIRA).table, extract(image, KIRA).table)


def test_nothing_found() -> None:
    found = extract(field([]), replace(KIRA, threshold=20.0))
    assert found.n_sources == 0
    assert found.table.dtype == COLUMNS
    assert found.rms > 0


def test_pixels_that_are_not_finite_are_masked() -> None:
    clean, image = extract(field(STARS), KIRA), field(STARS)
    image.data[80:90, 200:260] = np.nan
    image.data[0, 0] = np.inf
    found = extract(image, KIRA)
    assert found.n_sources == 3
    assert np.isfinite(found.table["flux_ellipse"]).all()
    assert np.allclose(np.sort(found.table["x"]), np.sort(clean.table["x"]), atol=0.05)


def test_a_kron_radius_that_is_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = sep.kron_radius

    def first_is_nan(*args: Any, **kwargs: Any) -> Any:
        radius, flag = measure(*args, **kwargs)
        radius[0] = np.nan
        return radius, flag

    clean = extract(field(STARS), KIRA).table
    monkeypatch.setattr(sep, "kron_radius", first_is_nan)
    table = extract(field(STARS), KIRA).table
    assert np.isnan(table["flux_ellipse"]).tolist() == [True, False, False]
    assert np.isnan(table["fluxerr_ellipse"][0])
    assert table["flag_ellipse"].tolist() == [Flag.NOT_MEASURED, 0, 0]
    assert np.array_equal(table["flux_ellipse"][1:], clean["flux_ellipse"][1:])
    assert np.array_equal(table["flux_circle"], clean["flux_circle"])


def test_an_ellipse_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    detect = sep.extract

    def odd(*args: Any, **kwargs: Any) -> Any:
        objects = detect(*args, **kwargs)
        objects["a"][0], objects["b"][1] = np.nan, objects["a"][1] * 2
        return objects

    monkeypatch.setattr(sep, "extract", odd)
    table = extract(field(STARS), KIRA).table
    assert table["flag_kron"].tolist() == [Flag.NOT_MEASURED, Flag.NOT_MEASURED, 0]
    assert table["flag_ellipse"].tolist() == [Flag.NOT_MEASURED, Flag.NOT_MEASURED, 0]
    assert np.isnan(table["kron_radius"]).tolist() == [True, True, False]


def test_limits_that_are_too_small_are_raised() -> None:
    crowd = field([(float(x), float(y), 3000.0) for x in range(100, 130, 6) for y in range(100, 130, 6)])
    for image, small in ((field(STARS), {"pixstack": 20}), (crowd, {"sub_object_limit": 2})):
        wanted, found = extract(image, KIRA), extract(image, replace(KIRA, **small))
        assert found.raised
        assert not wanted.raised
        assert (found.table["flag_extract"] & Flag.CROWDED_LIMITS_RAISED > 0).all()
        found.table["flag_extract"] -= int(Flag.CROWDED_LIMITS_RAISED)
        assert np.array_equal(found.table, wanted.table)
    extract(field(STARS), KIRA)
    assert (sep.get_extract_pixstack(), sep.get_sub_object_limit()) == (1_000_000, 4096)


def test_other_failures_of_sep_are_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise Exception("error in C")  # as SEP does

    def no_memory(*args: Any, **kwargs: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(sep, "sum_circle", fail)
    with pytest.raises(ExtractionFailed, match=r"^image: SEP failed: error in C\.$"):
        extract(field(STARS), KIRA)
    monkeypatch.setattr(sep, "sum_circle", no_memory)
    with pytest.raises(MemoryError):  # not the frame's fault
        extract(field(STARS), KIRA)


@pytest.mark.parametrize("rms", [0.0, float("nan"), float("inf")])
def test_no_noise(monkeypatch: pytest.MonkeyPatch, rms: float) -> None:
    monkeypatch.setattr(sep, "Background", lambda *_, **__: SimpleNamespace(globalback=1.0, globalrms=rms))
    with pytest.raises(ExtractionFailed, match=r"^image: no usable noise level: background 1, rms"):
        extract(field([]), KIRA)


def test_threads_find_the_same(shared_sdss: Path) -> None:
    texts = [text for text in COUNTS if "4192" in text]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: extract(frame(shared_sdss, text), KIRA), texts))
    for text, found in zip(texts, together, strict=True):
        assert np.array_equal(found.table, extraction(shared_sdss, text).table)


def test_parameters_are_a_value() -> None:
    assert hash(KIRA) == hash(Parameters())
    assert KIRA.slug == "kira-01765de9"  # paths of catalogues depend on it
    assert Profile.named("kira") == replace(KIRA, engine=DEFAULT_ENGINE)
    assert Parameters.from_dict(KIRA.as_dict()) == KIRA
    assert replace(KIRA, name="mine").hash == KIRA.hash
    assert replace(KIRA, circle_radius=5, kernel=[[1, 2, 1], [2, 4, 2], [1, 2, 1]]).hash == KIRA.hash
    with pytest.raises(FrozenInstanceError):
        KIRA.mesh = 32  # type: ignore[misc]
    changed = {"name": "kira", "kernel": ((1.0,),), "engine": "fast"}
    for key, value in KIRA.as_dict().items():
        if key not in changed:
            assert replace(KIRA, **{key: value + 1}).hash != KIRA.hash, key
    assert replace(KIRA, **changed).hash != KIRA.hash


@pytest.mark.parametrize(
    "wrong",
    [
        {"mesh": 0},
        {"mesh": 6.5},
        {"mesh": "64"},
        {"threshold": -1},
        {"threshold": float("nan")},
        {"clean": True},
        {"kernel": ((1, 2), (3,))},
        {"kernel": ()},
        {"kernel": 3},
        {"deblend": 32},
    ],
)
def test_parameters_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        Parameters.from_dict(wrong)

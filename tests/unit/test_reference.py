"""The survey catalogue of real frames against SDSS's own photoObj, Stripe 82's stars and the LSST stack."""

import csv
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from kira.catalog.formats import to_astropy
from kira.catalog.survey import survey_table
from kira.errors import InvalidInput
from kira.extraction import SurveyProfile, extract
from kira.laptop import read_file
from kira.validation.reference import Matched, astrometry, completeness, match, offset, zero_point

BANDS = "ugriz"
PROFILE = SurveyProfile()
RADIUS = 1.2
"""Arcsec, 3 pixels."""


@cache
def measured(path: Path) -> Any:
    frame, _ = read_file(path)
    return to_astropy(survey_table(frame, extract(frame, PROFILE), PROFILE))


def dr12(root: Path, band: str) -> Any:
    return measured(root / f"sas/dr12/boss/photoObj/frames/301/94/1/frame-{band}-000094-1-0012.fits.bz2")


def stripe82(root: Path, band: str) -> Any:
    return measured(root / f"das/imaging/4192/40/corr/4/fpC-004192-{band}4-0300.fit.gz")


@cache
def photo_obj(root: Path) -> Any:
    """Objects of the field that photo did not deblend any further; all are secondary, for another run is primary."""
    with fits.open(root / "sas/dr12/boss/photoObj/301/94/1/photoObj-000094-1-0012.fits") as hdus:
        rows = hdus[1].data
        return rows[rows["MODE"] <= 2].copy()


def near(t: Any, ra: Any, dec: Any, radius: float = RADIUS) -> Matched:
    return match(np.asarray(t["ra"]), np.asarray(t["dec"]), np.asarray(ra), np.asarray(dec), radius)


# -- against SDSS's own catalogue


def test_what_sdss_found_is_found(shared_sdss: Path) -> None:
    objects = photo_obj(shared_sdss)
    # From 14, where nothing is saturated. Of a large galaxy the two centres may be some pixels apart.
    found = near(dr12(shared_sdss, "r"), objects["RA"], objects["DEC"], 2.0)
    to_18, to_21, to_22 = (
        completeness(found, objects["PSFMAG"][:, 2], (14.0, faint))[0] for faint in (18.0, 21.0, 22.0)
    )
    assert to_18.fraction == 1.0
    assert to_21.fraction >= 0.98
    assert to_22.fraction >= 0.97
    assert to_22.there > 400


@pytest.mark.parametrize("band", BANDS)
def test_positions_are_sdss_s(shared_sdss: Path, band: str) -> None:
    """The header's TAN WCS leaves out the cubic terms and the colours of SDSS's own solution: up to 0.08 arcsec."""
    objects, t = photo_obj(shared_sdss), dr12(shared_sdss, band)
    number = BANDS.index(band)
    good = objects["PSFFLUX"][:, number] * np.sqrt(objects["PSFFLUX_IVAR"][:, number]) > 20
    found = near(t, objects["RA"][good], objects["DEC"][good])
    assert found.within.sum() > 40
    most = 0.05 if band == "r" else 0.08
    for one in astrometry(np.asarray(t["ra"]), np.asarray(t["dec"]), objects["RA"][good], objects["DEC"][good], found):
        assert abs(one.median) < most
        assert one.scatter < 0.1


@pytest.mark.parametrize("band", BANDS)
def test_magnitudes_of_stars_are_sdss_s(shared_sdss: Path, band: str) -> None:
    """In the circle of 5 arcsec; SDSS's are of 7.43, in which noise, neighbours and the background weigh more."""
    objects, t, number = photo_obj(shared_sdss), dr12(shared_sdss, band), BANDS.index(band)
    flux, saturated = objects["PSFFLUX"][:, number], objects["FLAGS"][:, number] & (1 << 18)
    found = near(t, objects["RA"], objects["DEC"])
    rows = t[found.index]
    good = (
        found.within & (objects["OBJC_TYPE"] == 6) & (saturated == 0) & (rows["flags"] == 0)
        & (flux * np.sqrt(objects["PSFFLUX_IVAR"][:, number]) > 20)
    )  # fmt: skip
    one = zero_point(np.asarray(rows["flux_aper_5"][good]), 22.5 - 2.5 * np.log10(flux[good]))
    assert one.number > 35
    assert abs(one.median) < 0.02
    wide = zero_point(np.asarray(rows["flux_aper_6"][good]), 22.5 - 2.5 * np.log10(flux[good]))
    assert -0.06 < wide.median < 0.01


# -- against deeper ones


@pytest.mark.parametrize("band", BANDS)
def test_stripe_82_s_stars(shared_sdss: Path, band: str) -> None:
    """Magnitudes in the circle of 3 arcsec, which in this seeing holds 98 to 99 % of a star; positions."""
    with fits.open(shared_sdss / "reference/stripe82-stars.fits") as hdus:
        stars = hdus[1].data.copy()
    t = stripe82(shared_sdss, band)
    apart = (stars["ra"] - np.median(t["ra"]) + 180) % 360 - 180  # they count from -180
    around = (abs(apart) < 0.3) & (abs(stars["dec"] - np.median(t["dec"])) < 0.3)
    stars = stars[around]
    found = near(t, stars["ra"], stars["dec"])
    assert found.within.sum() > 40
    limit = 0.05 if band in "ri" else 0.08
    for one in astrometry(np.asarray(t["ra"]), np.asarray(t["dec"]), stars["ra"], stars["dec"], found):
        assert abs(one.median) < limit
    rows = t[found.index]
    bright = (stars[band] > 14) & (stars[band] < {"u": 19.5, "z": 18.5}.get(band, 20.0))
    good = found.within & bright & (rows["flags"] == 0) & (rows["fluxerr_aper_6"] < 0.05 * rows["flux_aper_6"])
    one = zero_point(np.asarray(rows["flux_aper_4"][good]), stars[band][good])
    assert one.number >= 10
    assert abs(one.median) < 0.02


@pytest.mark.parametrize("band", BANDS)
def test_what_the_lsst_stack_found_is_found(shared_sdss: Path, band: str) -> None:
    """At S/N above 10 and off the edge, within 3 pixels."""
    with (shared_sdss / "reference/lsst-stack-run4192-camcol4-field300.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["band"] == band and row["edge"] == "False"]
    numbers = np.array([[float(row[name] or "nan") for name in ("x_px", "y_px", "psf_flux_dn", "psf_flux_err_dn")]
                        for row in rows])  # fmt: skip
    numbers = numbers[numbers[:, 2] > 10 * numbers[:, 3]]
    t = stripe82(shared_sdss, band)
    ours = np.column_stack([t["x"], t["y"]])
    apart = np.linalg.norm(numbers[:, None, :2] - ours[None], axis=-1).min(axis=1)
    assert len(numbers) > 40
    assert (apart < 3).mean() >= 0.98


# -- the measures themselves


def test_matches_are_astropy_s_separations() -> None:
    rng = np.random.default_rng(2)
    ra, dec = np.concatenate([rng.uniform(359.9, 360.0, 200), rng.uniform(0, 0.1, 200)]), rng.uniform(-1, 1, 400)
    moved_ra, moved_dec = (ra + rng.normal(0, 2e-4, 400)) % 360, dec + rng.normal(0, 2e-4, 400)
    found = match(ra, dec, moved_ra, moved_dec, 2.0)
    theirs = SkyCoord(moved_ra, moved_dec, unit="deg")
    expected = theirs.separation(SkyCoord(ra[found.index], dec[found.index], unit="deg")).arcsec
    assert found.separation == pytest.approx(expected, abs=1e-6)
    for i in (0, 50, 399):
        assert theirs[i].separation(SkyCoord(ra, dec, unit="deg")).arcsec.min() == pytest.approx(found.separation[i])
    shifted = match(ra, dec, ra, dec - 0.2 / 3600, 2.0)
    east, north = astrometry(ra, dec, ra, dec - 0.2 / 3600, shifted)
    assert (east.median, north.median) == pytest.approx((0.0, 0.2), abs=1e-6)


def test_nothing_to_match_is_said() -> None:
    with pytest.raises(InvalidInput, match="nothing to match"):
        match(np.empty(0), np.empty(0), np.zeros(1), np.zeros(1), 1.0)
    lost = match(np.array([np.nan]), np.array([np.nan]), np.zeros(1), np.zeros(1), 5.0)
    assert not lost.within.any()
    assert offset([]).number == 0
    assert np.isnan(offset([np.nan]).median)


def test_a_zero_point_that_is_wrong_is_seen() -> None:
    flux = np.geomspace(1, 1000, 50)
    one = zero_point(flux * 1.05, 22.5 - 2.5 * np.log10(flux))
    assert one.median == pytest.approx(-2.5 * np.log10(1.05))
    assert (one.scatter, one.number) == (pytest.approx(0, abs=1e-9), 50)

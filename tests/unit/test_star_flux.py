"""Fluxes of point sources: the frame's own curve of growth, and what is done with it."""

from dataclasses import replace

import numpy as np
import pytest
from images import SCALE, SIGMA, frame_of

from kira.errors import InvalidInput
from kira.extraction import SurveyProfile, extract
from kira.extraction.star_flux import LEAST_STARS, correction

PROFILE = SurveyProfile()
PLACES = [(60.0 + 80 * (i % 6) + 0.3 * i, 60.0 + 80 * (i // 6)) for i in range(24)]
SHAPE = (360, 540)


def field(*more: tuple[float, ...], stars: int = 24, flux: float = 20_000.0, seed: int = 7) -> tuple[np.ndarray, int]:
    """Table of a frame of stars, and of how many of them."""
    image = frame_of([(*place, flux) for place in PLACES[:stars]] + list(more), SHAPE, seed)
    return extract(image, PROFILE).table, stars


def gaussian(arcsec: float) -> float:
    """Light of a Gaussian in a circle, pixels' variance of 1/12 included for the circle's edge."""
    return float(1 - np.exp(-((arcsec / SCALE) ** 2) / 2 / (SIGMA**2 + 1 / 12)))


def test_stars_get_what_lies_outside_the_small_circle() -> None:
    """Over eight frames: within one the correction's error is common to all stars."""
    pulls, shares = [], []
    for seed in range(1, 9):
        table, n = field(seed=seed)
        assert len(table) == n
        assert (table["star_factor_number"] == n).all()
        factor, error = table["star_factor"][0], table["star_factor_err"][0]
        assert 0 < error < 0.001
        assert factor == pytest.approx(gaussian(7.43) / gaussian(2.0), abs=4 * error)
        pulls.append((table["flux_star"] - 20_000) / table["fluxerr_star"])
        shares.append(np.median(table["fluxerr_star"] / table["fluxerr_aper"][:, 5]))
    assert 0.6 < np.sqrt(np.mean(np.square(pulls))) < 1.3
    assert abs(np.mean(pulls)) < 3 * 0.7 / np.sqrt(len(pulls))
    # The small circle has a quarter of the large one's error, the correction as much again.
    assert np.median(shares) < 0.5


def test_neighbours_galaxies_and_faint_sources_say_nothing_about_stars() -> None:
    alone, n = field()
    beside = [(x + 14, y, 2_000.0) for x, y in PLACES[:6]]
    extended = [(x + 40, y + 40, 20_000.0, 3.0) for x, y in PLACES[:4]]
    faint = [(x + 40, y + 40, 60.0) for x, y in PLACES[8:12]]
    table, _ = field(*beside, *extended, *faint)
    assert len(table) > n + 12
    assert table["star_factor_number"][0] == n - 6
    assert table["star_factor"][0] == pytest.approx(alone["star_factor"][0], abs=4e-4)
    assert np.isfinite(table["flux_star"]).all()


def test_a_frame_with_too_few_stars_cannot_tell() -> None:
    table, _ = field(stars=3)
    assert len(table) == 3
    assert np.isnan(table["flux_star"]).all()
    assert np.isnan(table["fluxerr_star"]).all()
    assert np.isnan(table["star_factor"]).all()
    assert (table["star_factor_number"] < LEAST_STARS).all()
    assert np.isfinite(table["flux_aper"]).all()


def test_the_factor_is_a_median_with_an_error_that_means_something() -> None:
    random = np.random.default_rng(5)
    pulls, spreads = [], []
    for _ in range(300):
        flux = 10 ** random.uniform(3, 5, 40)
        small, large = np.full(40, 15.0), np.full(40, 60.0)
        true = 1.1 + random.normal(0, 0.01, 40)
        seen = flux + random.normal(0, small)
        whole = true * flux + (seen - flux) + random.normal(0, np.sqrt(large**2 - small**2))
        whole[:4] *= 1.2  # neighbours that nobody saw
        found = correction(seen, small, whole, large)
        pulls.append((found.factor - 1.1) / found.error)
        spreads.append(found.spread)
        assert found.stars == 40
    assert 0 < np.mean(pulls) < 1.0  # a tenth of outliers on one side draw a median by that little
    assert 0.7 < np.std(pulls) < 1.3
    assert 0.007 < np.median(spreads) < 0.02
    few = correction(seen[:4], small[:4], whole[:4], large[:4])
    assert np.isnan([few.factor, few.error, few.spread]).all()
    assert few.stars == 4


def test_the_circles_are_of_two_sizes() -> None:
    with pytest.raises(InvalidInput, match=r"^star_aperture: 8 is not below star_reference, 7\.43\.$"):
        replace(PROFILE, star_aperture=8.0)

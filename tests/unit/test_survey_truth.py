"""Rendered frames, whose truth is known: what is found, and whether the errors mean something.

Figures in docs/comparison.md. What is asked for here is what was measured, with room for other random numbers.
"""

from dataclasses import replace

import galsim
import numpy as np
import pytest
from truth import (
    SURVEY,
    centre_and_width,
    completeness,
    encircled,
    pulls,
    purity,
    rendered,
    together,
)

from kira.extraction import Flag, extract
from kira.sample.optics import Psf


def test_the_light_in_a_circle_is_that_of_the_psf() -> None:
    """Against photons, the other way in which the sample draws a star."""
    psf = Psf(1.3)
    light = psf.optical.shoot(2_000_000, galsim.BaseDeviate(1))
    x, y = np.floor(light.x + 0.5), np.floor(light.y + 0.5)  # gathered by pixels
    random = np.random.default_rng(1)
    for radius in (4.0, 8.0, 18.8):
        # A pixel's part in a circle, by a place in it at random.
        inside = np.hypot(x + random.uniform(-0.5, 0.5, x.size), y + random.uniform(-0.5, 0.5, y.size)) < radius
        assert inside.mean() == pytest.approx(encircled(psf, radius), abs=0.003)


def test_what_is_there_is_found_and_what_is_found_is_there() -> None:
    image, truth, _, _ = rendered("r", 2015)
    found = extract(image, SURVEY)
    assert 450 < found.n_sources < 700
    assert completeness(truth, found.table, 1600, np.inf) > 0.97
    assert completeness(truth, found.table, 400, 800) > 0.8
    assert completeness(truth, found.table, 50, 100) < 0.1  # far below the noise: no detection is there by chance
    assert purity(truth, found.table, 50) > 0.96
    saturated = found.table["flags"] & Flag.SATURATED > 0
    full = np.array([image.data[row["ypeak"], row["xpeak"]] for row in found.table]) >= 43_653 + 1000
    assert full.any()
    assert saturated[full].all()
    assert saturated.sum() < 5


@pytest.mark.integration
@pytest.mark.parametrize("band", ["r", "z"])
def test_errors_are_what_the_measurements_are_off_by(band: str) -> None:
    """To 2 arcsec the noise is all; to 7.43, 1,100 pixels, an error of the background of 0.01 of its rms shows."""
    found = together([pulls(rendered(band, seed)) for seed in (1, 2, 3, 4)]).within(200, 10_000)  # type: ignore[arg-type]
    n = len(found.x)
    assert n > 120
    chance = 1.25 / np.sqrt(n)  # of a median
    for i, most in enumerate((0.1, 0.1, 0.1, 0.25, 0.35, 0.4)):
        centre, width = centre_and_width(found.flux[:, i])
        assert abs(centre) < most + 1.5 * chance, SURVEY.apertures[i]
        assert 0.75 < width < 1.35, SURVEY.apertures[i]
    for one in (found.x, found.y):
        centre, width = centre_and_width(one)
        assert abs(centre) < 0.1 + 1.5 * chance
        assert 0.75 < width < 1.2
    assert 0.85 < np.median(found.auto) < 0.97  # the AUTO ellipse leaves out wings


@pytest.mark.integration
def test_the_dither_is_what_makes_large_circles_right() -> None:
    """Without it they are off by three times their errors: whole numbers shift the background."""
    frames = [rendered("z", seed) for seed in (1, 2)]
    widths = {}
    for dither in (0.0, 1.0):
        profile = replace(SURVEY, dither=dither)
        flux = together([pulls(one, profile) for one in frames]).within(200, 10_000).flux[:, -1]
        widths[dither] = float(np.sqrt(np.mean(np.clip(flux, -10, 10) ** 2)))
    assert widths[0.0] > 2 * widths[1.0]
    assert widths[1.0] < 1.6

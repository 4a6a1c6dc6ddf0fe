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
@pytest.mark.parametrize("band", ["u", "r", "z"])
def test_errors_are_what_the_measurements_are_off_by(band: str) -> None:
    """In all circles, to 1,100 pixels: with twelve frames instead of six the medians are within 0.1."""
    found = together([pulls(rendered(band, seed)) for seed in range(1, 7)]).within(200, 10_000)  # type: ignore[arg-type]
    n = len(found.x)
    assert n > 170
    chance = 1.25 / np.sqrt(n)  # of a median; that of a width is about the same
    for i, radius in enumerate(SURVEY.apertures):
        centre, width = centre_and_width(found.flux[:, i])
        assert abs(centre) < 0.1 + 2 * chance, radius
        assert 0.9 - 2 * chance < width < 1.2 + 2 * chance, radius
    centre, width = centre_and_width(found.star)
    assert abs(centre) < 0.1 + 2 * chance
    assert 0.9 - 2 * chance < width < 1.2
    for one in (found.x, found.y):
        centre, width = centre_and_width(one)
        assert abs(centre) < 0.1 + 2 * chance
        assert 0.9 - 2 * chance < width < 1.2
    assert 0.85 < np.median(found.auto) < 0.97  # the AUTO ellipse leaves out wings


@pytest.mark.integration
def test_the_dither_or_the_second_pass_make_large_circles_right() -> None:
    """Without both they are off by three times their errors: whole numbers shift the background of the first pass."""
    frames = [rendered("z", seed) for seed in (1, 2)]

    def off(background: str, dither: float) -> float:
        profile = replace(SURVEY, background=background, dither=dither)
        flux = together([pulls(one, profile) for one in frames]).within(200, 10_000).flux[:, -1]
        return float(np.sqrt(np.mean(np.clip(flux, -10, 10) ** 2)))

    assert off("mode", 0.0) > 2 * off("mode", 1.0)
    assert max(off("mode", 1.0), off("mean", 1.0), off("mean", 0.0)) < 1.6

"""The second pass of the background: what it is made of, and that circles at empty places are 0 on real frames."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from empty import PROFILE, passes, pulls, width
from real_frames import M2, full_frame
from scipy.interpolate import CubicSpline
from scipy.ndimage import maximum_filter

from kira.extraction import extract
from kira.extraction.background import _covered, remaining_sky, spline_weights

FRAMES = [f"{field}-{band}" for field in ("dr7-40-004192-4-0300", "dr12-301-000094-1-0012") for band in "ugriz"]


@pytest.mark.integration
@pytest.mark.parametrize("text", FRAMES)
def test_circles_at_empty_places_are_nothing_on_average(shared_sdss: Path, text: str) -> None:
    """Of real frames: flux over error, by radius. After the first pass alone it is up to +1.1 in u.

    "Empty" asks only that no source was found in the circle: the growth of the sources is not part of it. Thousand
    circles of 7.43 arcsec in a frame overlap, and the background of a cell errs by 0.01 rms, a third of that circle's
    error: a mean of such cells is good to about 0.05.
    """
    frame = passes(full_frame(shared_sdss, text))
    found = pulls(frame, frame.first - frame.sky)
    assert len(found[0]) > 300
    # Sources too faint to be found make the pulls skew, and in large circles wide.
    for radius, values, most in zip(PROFILE.apertures, found, (1.1, 1.1, 1.15, 1.2, 1.35, 1.45), strict=True):
        assert abs(values.mean()) < 0.15, radius
        assert 0.85 < width(values) < most, radius
    if text.endswith("u"):
        assert pulls(frame, frame.first)[-1].mean() > 0.5


@pytest.mark.integration
def test_a_globular_cluster_keeps_the_first_pass(shared_sdss: Path) -> None:
    """In M2 there is next to no pixel without a source: its stars' light must not be taken for sky."""
    image = full_frame(shared_sdss, M2)
    frame = passes(image)
    pixels, sky, taken = frame.first, frame.sky, frame.taken
    rms = np.median(np.abs(pixels[~taken])) * 1.4826
    share = np.array([[taken[i : i + 64, j : j + 64].mean() for j in range(0, 1984, 64)] for i in range(0, 1408, 64)])
    i, j = np.unravel_index(share.argmax(), share.shape)
    assert share[i, j] > 0.4
    assert np.abs(sky[64 * i : 64 * i + 64, 64 * j : 64 * j + 64]).max() < 0.02 * rms
    assert np.abs(sky).max() < rms


def test_the_spline_goes_through_the_cells_and_is_a_natural_one() -> None:
    values = np.random.default_rng(1).normal(size=24)
    weights = spline_weights(1489, 64)
    assert weights.sum(axis=1) == pytest.approx(1.0)
    nodes = np.append(np.arange(23) * 64 + 31.5, (1472 + 1488) / 2)
    expected = CubicSpline(nodes, values, bc_type="natural")(np.clip(np.arange(1489), nodes[0], nodes[-1]))
    assert weights @ values == pytest.approx(expected, abs=1e-12)
    for n, mesh in ((10, 64), (64, 64), (65, 64), (3, 1)):
        assert spline_weights(n, mesh).sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize("growth", [1, 2, 3, 8, 30])
@pytest.mark.parametrize("shape", [(149, 204), (5, 7), (20, 3)])
def test_sources_are_grown_by_a_square(growth: int, shape: tuple[int, int]) -> None:
    segments = (np.random.default_rng(growth).random(shape) < 0.02).astype(np.int32)
    expected = maximum_filter(segments, 2 * growth + 1, mode="constant") > 0
    assert (_covered(segments, None, growth) == expected).all()
    mask = np.zeros(shape, dtype=bool)
    mask[1, 1] = True
    assert (_covered(segments, mask, growth) == (expected | mask)).all()


def test_the_mean_of_what_is_free_is_found_and_what_is_not_sky_is_left_out() -> None:
    """A slope under noise, with a source, a cosmic ray beside it and pixels without value."""
    random = np.random.default_rng(3)
    slope = np.linspace(-0.4, 0.6, 320)[:, None] * np.ones(256)
    pixels = (slope + random.normal(size=slope.shape)).astype(np.float32)
    segments = np.zeros(pixels.shape, dtype=np.int32)
    segments[60:90, 60:90], pixels[55:95, 55:95] = 1, 300.0
    pixels[200, 100:110] = 1000.0
    mask = np.zeros(pixels.shape, dtype=bool)
    mask[120:180], pixels[120:180] = True, np.nan
    sky = remaining_sky(pixels, segments, mask, np.ones_like(pixels), 64, 1, 8)
    assert sky.dtype == np.float32
    error = (sky - slope)[32:-32]
    assert np.abs(error).max() < 0.12  # cells of up to 4,096 pixels: 0.02 to 0.04; the masked one takes none: 0
    nothing = remaining_sky(pixels, np.ones_like(segments), None, np.ones_like(pixels), 64, 3, 8)
    assert not nothing.any()


def test_background_and_fluxes_agree_about_what_was_subtracted(shared_sdss: Path) -> None:
    """A catalogue's flux_iso is the sum of pixels minus the background that it gives."""
    image = full_frame(shared_sdss, "dr12-301-000094-1-0012-u")
    one, other = (extract(image, replace(PROFILE, background=kind)).table for kind in ("mean", "mode"))
    assert len(one) == len(other)  # what is found is the first pass's
    assert (one["npix"] == other["npix"]).all()
    lower = one["background"] - other["background"]
    assert np.abs(lower).max() < 0.2 * np.median(one["background_rms"])
    assert lower.std() > 0
    assert one["flux_iso"] + one["npix"] * lower == pytest.approx(other["flux_iso"], rel=1e-6, abs=1e-9)

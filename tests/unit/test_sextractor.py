"""Against SExtractor: its program on every real frame, and a catalogue that others made with it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import sep
from astropy.io import fits
from images import SCALE, NoisyFrame, tan_wcs
from real_frames import COUNTS, M2, frame
from sextractor import LIKE_SEXTRACTOR, agreement

from kira.extraction import Flag, Parameters, SurveyProfile, extract

needs_sextractor = pytest.mark.skipif(
    shutil.which("source-extractor") is None, reason="source-extractor is not installed: scripts/setup test"
)
REAL = [text for text in COUNTS if text != M2]


@pytest.mark.filterwarnings("ignore")  # cards of 1993
def test_every_measurement_in_a_catalogue_made_by_others(shared: Path) -> None:
    """65 sources, their fluxes, radii and errors."""
    folder = shared / "fits" / "sextractor"
    data = fits.getdata(folder / "image.fits", ignore_missing_end=True).astype(np.float32)
    names = [
        "number", "x", "y", "x_win", "y_win", "x2", "y2", "xy", "x_var", "y_var", "xy_cov", "a", "flux_aper",
        "fluxerr_aper", "auto_scale", "flux_auto", "fluxerr_auto", "r10", "r50", "r60", "flags",
    ]  # fmt: skip
    theirs = dict(zip(names, np.loadtxt(folder / "image.cat").T, strict=True))
    image = NoisyFrame(None, data, tan_wcs())
    object.__setattr__(image, "variance", sep.Background(data).globalrms ** 2)
    profile = SurveyProfile(
        deblend_contrast=1.0, background="mode", detection_noise="global", dither=0.0, aperture_centre="barycentre",
        kron_minimum=0.0, apertures=(5 * SCALE,),
    )  # fmt: skip
    ours = extract(image, profile).table
    assert len(ours) == len(theirs["x"]) == 65
    ours = ours[np.argsort(ours["y"])]
    order = np.argsort(theirs["y"])
    theirs = {name: values[order] for name, values in theirs.items()}
    for name in ("x", "y"):
        assert np.abs(ours[name] + 1 - theirs[name]).max() < 1e-4
        assert (np.abs(ours[f"{name}_win"] + 1 - theirs[f"{name}_win"]) < 1e-4).mean() > 0.9
        assert ours[f"{name}_err"] ** 2 == pytest.approx(theirs[f"{name}_var"], rel=1e-6)
    assert ours["xy_cov"] == pytest.approx(theirs["xy_cov"], rel=1e-4, abs=1e-8)
    assert ours["flux_aper"][:, 0] == pytest.approx(theirs["flux_aper"], rel=1e-6)
    assert ours["fluxerr_aper"][:, 0] == pytest.approx(theirs["fluxerr_aper"], rel=1e-6)
    assert ours["flux_auto"] == pytest.approx(theirs["flux_auto"], rel=1e-6)
    assert ours["fluxerr_auto"] == pytest.approx(theirs["fluxerr_auto"], rel=1e-6)
    # Written with two and three decimals.
    measured = theirs["flux_auto"] > 0
    assert measured.sum() >= 64
    assert ours["auto_scale"][measured] == pytest.approx(theirs["auto_scale"][measured], abs=0.0051)
    assert ours["r50"][measured] == pytest.approx(theirs["r50"][measured], abs=0.00051)


@needs_sextractor
@pytest.mark.integration
@pytest.mark.parametrize("text", COUNTS)
def test_a_real_frame(shared_sdss: Path, text: str) -> None:
    """Figures in docs/comparison.md; M2's many blends are shared out among sources by chance, in both programs."""
    image = frame(shared_sdss, text)
    found = agreement(image)
    ours, theirs = found.ours, found.theirs
    n = len(ours)
    assert n == COUNTS[text]
    assert abs(n - len(theirs)) <= (0.01 if text == M2 else 0.005) * n
    # A pair of which one was cleaned away by SExtractor moves: two of the smallest frame's 238 sources do.
    assert (~found.matched).sum() <= (0.01 * n if text == M2 else max(2, 0.005 * n))
    assert np.median(found.distance[found.matched]) < 1e-4
    assert found.clean.sum() > (0.4 if text == M2 else 0.85) * n

    exact = {
        "flux_auto": theirs["FLUX_AUTO"], "fluxerr_auto": theirs["FLUXERR_AUTO"], "auto_scale": theirs["KRON_RADIUS"],
        "r20": theirs["FLUX_RADIUS"][:, 0], "r50": theirs["FLUX_RADIUS"][:, 1], "r80": theirs["FLUX_RADIUS"][:, 2],
        "a": theirs["A_IMAGE"],
    }  # fmt: skip
    for name, values in exact.items():
        difference = found.difference(ours[name], values)
        assert np.median(difference) < 1e-6, name
        assert (difference < 1e-3).mean() > 0.985, name
    for name in ("flux_aper", "fluxerr_aper"):
        for i in range(6):
            difference = found.difference(ours[name][:, i], theirs[name.upper()][:, i])
            assert np.median(difference) < 1e-6, (name, i)
            assert (difference < 1e-3).mean() > 0.95, (name, i)
    # SExtractor counts a cleaned source's pixels to its neighbour.
    for name, values in (("flux_iso", theirs["FLUX_ISO"]), ("fluxerr_iso", theirs["FLUXERR_ISO"])):
        assert (found.difference(ours[name], values) < 1e-3).mean() > (0.94 if text == M2 else 0.95), name
    # Of the positions' errors the squares are compared.
    kept = ours["flags"] & Flag.WINDOW_FAILED == 0
    assert np.median(found.difference(ours["x_win_err"] ** 2, theirs["ERRX2WIN_IMAGE"])) < 1e-4
    assert np.median(found.difference(ours["x_err"] ** 2, theirs["ERRX2_IMAGE"])) < 1e-4
    window = np.hypot(ours["x_win"] + 1 - theirs["XWIN_IMAGE"][found.index],
                      ours["y_win"] + 1 - theirs["YWIN_IMAGE"][found.index])  # fmt: skip
    assert (window[found.clean & kept] < 1e-3).mean() > 0.97


@needs_sextractor
@pytest.mark.integration
@pytest.mark.parametrize("text", REAL)
def test_kiras_own_fluxes(shared_sdss: Path, text: str) -> None:
    """What the profile kira measures is SExtractor's FLUX_AUTO without a least ellipse, and a circle of 5 pixels."""
    found = agreement(frame(shared_sdss, text), Parameters(), PHOT_AUTOPARAMS="2.5,0.0")
    kron = found.difference(found.ours["flux_ellipse"], found.theirs["FLUX_AUTO"])
    circle = found.difference(found.ours["flux_circle"], found.theirs["FLUX_APER"][:, 0])
    assert min((kron < 1e-3).mean(), (circle < 1e-3).mean()) > 0.95
    assert max(np.median(kron), np.median(circle)) < 1e-6


def test_the_comparison_is_the_surveys_but_for_what_sextractor_has_not() -> None:
    survey, here = SurveyProfile().as_dict(), LIKE_SEXTRACTOR.as_dict()
    assert {key for key in survey if survey[key] != here[key]} == {
        "background", "detection_noise", "dither", "aperture_centre",
    }  # fmt: skip

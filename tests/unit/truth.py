"""The survey profile against the truth of rendered frames: completeness, purity, and pulls of fluxes and positions.

`python tests/unit/truth.py` prints the tables of docs/comparison.md.
"""

from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

from kira.extraction import Flag, Parameters, Profile, SurveyProfile, extract
from kira.frames import Frame
from kira.sample import SampleSpec
from kira.sample.camera import COLUMN_OFFSET, FIELD_STEP, ROW_OFFSET, SATURATION, SOFTBIAS, Detector
from kira.sample.header import wcs_cards
from kira.sample.optics import Psf
from kira.sample.strip import patches, strip_fields
from kira.sdss import Band

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CAMCOL = 3
MATCH = 2.5
"""Pixels from a true place to a detection of it."""
SPOILED = Flag.SATURATED | Flag.NEAR_EDGE | Flag.MERGED | Flag.NEIGHBOURS
SURVEY = SurveyProfile()


@dataclass(frozen=True)
class Truth:
    """True sources of a rendered frame, all arrays of shape (n,).

    Parameters
    ----------
    x, y : ndarray of float64
        Pixels of the frame.
    flux : ndarray of float64
        Total, DN.
    star : ndarray of bool
    """

    x: Floats
    y: Floats
    flux: Floats
    star: Bools

    def __getitem__(self, chosen: Any) -> "Truth":
        return Truth(*(getattr(self, one.name)[chosen] for one in fields(self)))


def rendered(band: Band, seed: int, **densities: float) -> tuple[Frame, Truth, Detector, Psf]:
    """One field as the camera gives it (fpC: counts with sky), and what is in it."""
    spec = SampleSpec(fields=1, bands=(band,), seed=seed, **densities)  # type: ignore[arg-type]
    detector, field = Detector(spec, CAMCOL, band), spec.first_field
    ((_, pixels),) = strip_fields(spec, CAMCOL, band)
    header = fits.Header([fits.Card(*card) for card in wcs_cards(detector, field, (1024.5, 744.5))])
    header.rename_keyword("RADECSYS", "RADESYS")
    image = Frame(
        None, pixels.astype(np.float32), WCS(header, fix=False), bunit="DNs", softbias=SOFTBIAS, gain=detector.gain,
        saturated=pixels >= SATURATION[band] + SOFTBIAS,
    )  # fmt: skip
    parts = [
        Truth(
            sources.col + COLUMN_OFFSET[band], sources.row + FIELD_STEP * (number - field) + ROW_OFFSET[band],
            sources.flux[:, detector.band_index] / detector.nanomaggies_per_count, sources.is_star,
        )
        for number, sources in patches(spec, CAMCOL)
    ]  # fmt: skip
    truth = Truth(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Truth)))
    rows, columns = image.shape
    inside = (truth.x > -0.5) & (truth.x < columns - 0.5) & (truth.y > -0.5) & (truth.y < rows - 0.5)
    return image, truth[inside], detector, Psf(detector.seeing(field))


def encircled(psf: Psf, radius: float) -> float:
    """Part of a star's flux in a circle, pixels: the PSF's Gaussians, widened by a pixel's variance of 1/12 twice.

    Once because pixels gather the light, once because the circle takes parts of its edge pixels.
    """
    sigmas = np.sqrt(np.array(psf.sigmas) ** 2 + 1 / 6)
    return float((np.array(psf.fractions) * (1 - np.exp(-(radius**2) / (2 * sigmas**2)))).sum())


def match(truth: Truth, table: Any) -> tuple[npt.NDArray[np.int64], Floats]:
    """Nearest detection to each true place, and its distance."""
    index, distance = np.empty(len(truth.x), dtype=np.int64), np.empty(len(truth.x))
    for begin in range(0, len(truth.x), 500):
        part = slice(begin, begin + 500)
        apart = np.hypot(truth.x[part, None] - table["x"], truth.y[part, None] - table["y"])
        index[part], distance[part] = apart.argmin(axis=1), apart.min(axis=1)
    return index, distance


def completeness(truth: Truth, table: Any, least: float, most: float) -> float:
    """Part of the true sources of some fluxes (DN) that have a detection."""
    chosen = truth[(truth.flux >= least) & (truth.flux < most)]
    return float((match(chosen, table)[1] < MATCH).mean())


def purity(truth: Truth, table: Any, faintest: float) -> float:
    """Part of the detections that have a true source brighter than `faintest` (DN) near them."""
    bright = truth[truth.flux > faintest]
    apart = [
        np.hypot(bright.x - row["x"], bright.y - row["y"]).min() < max(MATCH, row["a"]) for row in table
    ]  # fmt: skip
    return float(np.mean(apart))


def lonely(truth: Truth, least: float, known: float = 300.0) -> Bools:
    """Which sources above a flux have nothing near whose light in their largest circle is 2 % of their own.

    Neighbours fainter than `known` (DN), half of which are detected at best, do not count: who works with a catalogue
    cannot leave out a source for them. They are everywhere, also where the sky is measured, and belong to it.
    """
    found = truth.flux >= least
    for i in np.flatnonzero(found):
        apart = np.hypot(truth.x - truth.x[i], truth.y - truth.y[i])
        near = (apart > 0) & (apart < 60) & (truth.flux > known)
        # How much of a neighbour reaches into a circle of 19 pixels: all, then falling by e every 4 pixels.
        reach = truth.flux[near] * np.exp(-np.maximum(apart[near] - 15, 0) / 4)
        found[i] = reach.sum() < 0.02 * truth.flux[i]
    return found


@dataclass(frozen=True)
class Pulls:
    """(measured - true) / error of isolated stars without flags.

    Parameters
    ----------
    flux : ndarray of float64, shape (n, 6)
        Of the circles, against the true flux times what the PSF leaves inside.
    x, y : ndarray of float64, shape (n,)
        Windowed positions.
    star : ndarray of float64, shape (n,)
        flux_star, against what the PSF leaves inside the circle of star_reference.
    auto : ndarray of float64, shape (n,)
        flux_auto over the true flux: a ratio.
    true : ndarray of float64, shape (n,)
        DN.
    """

    flux: Floats
    x: Floats
    y: Floats
    star: Floats
    auto: Floats
    true: Floats

    def within(self, least: float, most: float) -> "Pulls":
        chosen = (self.true >= least) & (self.true < most)
        return Pulls(*(getattr(self, one.name)[chosen] for one in fields(self)))


def pulls(frame: tuple[Frame, Truth, Detector, Psf], profile: SurveyProfile = SURVEY, least: float = 100.0) -> Pulls:
    image, truth, _, psf = frame
    table = extract(image, profile).table
    stars = truth[truth.star & lonely(truth, least)]
    index, distance = match(stars, table)
    chosen = (distance < MATCH) & (table["flags"][index] & int(SPOILED) == 0)
    stars, rows = stars[chosen], table[index[chosen]]
    whole = encircled(psf, profile.star_reference / image.pixel_scale)
    inside = np.array([encircled(psf, one / image.pixel_scale) for one in profile.apertures])
    return Pulls(
        (rows["flux_aper"] - stars.flux[:, None] * inside) / rows["fluxerr_aper"],
        (rows["x_win"] - stars.x) / rows["x_win_err"], (rows["y_win"] - stars.y) / rows["y_win_err"],
        (rows["flux_star"] - stars.flux * whole) / rows["fluxerr_star"], rows["flux_auto"] / stars.flux, stars.flux,
    )  # fmt: skip


def centre_and_width(values: Floats) -> tuple[float, float]:
    """Median, and 1.4826 times the median distance from it."""
    centre = float(np.median(values))
    return centre, 1.4826 * float(np.median(np.abs(values - centre)))


def together(parts: list[Pulls]) -> Pulls:
    return Pulls(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Pulls)))


def main() -> None:
    edges = (50, 100, 200, 400, 800, 1600, 1_000_000)
    steps = list(pairwise(edges))
    for band in ("u", "r", "z"):
        frames = [rendered(band, seed) for seed in range(1, 5)]  # type: ignore[arg-type]
        print(f"\n{band}, {len(frames)} frames\n")
        print("| profile | sources | " + " | ".join(f"{a:,}–{b:,} DN" for a, b in steps) + " | purity |")
        print("|---" * (len(steps) + 3) + "|")
        profiles: list[Profile] = [Parameters(), SURVEY]
        for profile in profiles:
            tables = [(truth, extract(image, profile).table) for image, truth, *_ in frames]
            cells = [f"{np.mean([completeness(*one, a, b) for one in tables]):.3f}" for a, b in steps]
            pure = np.mean([purity(*one, 50) for one in tables])
            n = sum(len(table) for _, table in tables)
            print(f"| {profile.name} | {n} | " + " | ".join(cells) + f" | {pure:.3f} |", flush=True)
        apertures = " | ".join(f'{one}"' for one in SURVEY.apertures)
        print(f"\n| profile | DN | stars | {apertures} | star | x | y | AUTO / true |")
        print("|---" * 13 + "|")
        more = [*frames, *(rendered(band, seed) for seed in range(5, 13))]  # type: ignore[arg-type]
        for profile in (SURVEY, replace(SURVEY, name="one-pass", background="mode")):
            found = together([pulls(one, profile) for one in more])
            for a, b in ((200, 1000), (1000, 10_000), (10_000, 1_000_000), (200, 20_000)):
                part = found.within(a, b)
                columns = [*part.flux.T, part.star[np.isfinite(part.star)], part.x, part.y]
                cells = ["{:+.2f} ± {:.2f}".format(*centre_and_width(one)) for one in columns]
                cells += [f"{np.median(part.auto):.3f}"]
                print(f"| {profile.name} | {a:,}–{b:,} | {len(part.x)} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

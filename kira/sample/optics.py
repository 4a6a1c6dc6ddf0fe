"""The point spread function, and the light of sources drawn with GalSim."""

from dataclasses import dataclass
from functools import cached_property

import galsim
import numpy as np
from numpy.typing import NDArray

from kira.sample.camera import COLUMNS, FIELD_STEP, PIXEL_ARCSEC
from kira.sample.population import Profile, Sources

Floats = NDArray[np.float64]

MARGIN = 256
"""Rows drawn beyond a patch on either side; no stamp of a bright source reaches farther."""
PHOTON_LIMIT = 15_000.0
"""Electrons up to which a source is drawn photon by photon, which also gives it its own noise."""

# Flux fraction and width, in units of the first, of the PSF's Gaussians: SDSS's core and halo (psf_sigma1, psf_sigma2
# and psf_b of psField), and a third one in place of its power-law wing.
_FRACTIONS, _WIDTHS = (0.66, 0.28, 0.06), (1.0, 2.1, 4.6)
_FWHM_OF_SIGMA = 2.4742  # of this mixture, solved numerically
_PIXEL_VARIANCE = 1.0 / 12.0
# Galaxies end where SDSS's models do, in half-light radii: beyond lies 1 % of the light or less.
_TRUNCATION = 8.0


@dataclass(frozen=True)
class Psf:
    """Point spread function: a sum of three round Gaussians.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum, arcsec.
    """

    fwhm: float

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Standard deviations of the Gaussians, pixels."""
        first = self.fwhm / PIXEL_ARCSEC / _FWHM_OF_SIGMA
        return tuple(first * w for w in _WIDTHS)

    @property
    def fractions(self) -> tuple[float, ...]:
        """Parts of the flux in each Gaussian; their sum is 1."""
        return _FRACTIONS

    @property
    def peak_ratio(self) -> float:
        """Height of the second Gaussian over that of the first, psf_b of psField."""
        return _FRACTIONS[1] / _WIDTHS[1] ** 2 / (_FRACTIONS[0] / _WIDTHS[0] ** 2)

    @property
    def effective_area(self) -> float:
        """Pixels that a fit of the PSF weighs, 1 / sum(psf^2): for Gaussians, sum of f_i f_j / 2 pi (s_i^2 + s_j^2)."""
        pairs = [
            f * g / (2 * np.pi * (s * s + t * t))
            for f, s in zip(_FRACTIONS, self.sigmas, strict=True)
            for g, t in zip(_FRACTIONS, self.sigmas, strict=True)
        ]
        return float(1.0 / sum(pairs))

    @cached_property
    def optical(self) -> "galsim.GSObject":
        """The PSF before the pixels, for photons; unit flux, lengths in pixels."""
        return galsim.Sum([galsim.Gaussian(sigma=s, flux=f) for f, s in zip(_FRACTIONS, self.sigmas, strict=True)])

    @cached_property
    def effective(self) -> "galsim.GSObject":
        """The PSF convolved with a pixel, whose variance is 1/12 a side, for drawing without photons."""
        widths = (float(np.sqrt(s * s + _PIXEL_VARIANCE)) for s in self.sigmas)
        return galsim.Sum([galsim.Gaussian(sigma=s, flux=f) for f, s in zip(_FRACTIONS, widths, strict=True)])


@dataclass(frozen=True)
class Light:
    """Light of a patch's sources, electrons, rows -MARGIN to 1361 + MARGIN of the patch.

    Parameters
    ----------
    expected : ndarray of float64, shape (1873, 2048)
        Bright sources: the mean, without noise.
    counted : ndarray of float64, shape (1873, 2048)
        Faint sources: photons that arrived.
    """

    expected: Floats
    counted: Floats


def draw(
    sources: Sources, electrons: Floats, offset: tuple[float, float], psf: Psf, seed: np.random.SeedSequence
) -> Light:
    """Draw the sources of one patch in one band.

    Parameters
    ----------
    sources : Sources
        n of them.
    electrons : ndarray of float64, shape (n,)
        Electrons that each is expected to give.
    offset : (float, float)
        Rows and columns to add to the sources' own, which are band r's.
    psf : Psf
    seed : SeedSequence
        Of the photons.

    Returns
    -------
    Light
    """
    rows, cols = sources.row + offset[0] + MARGIN, sources.col + offset[1]
    faint = electrons < PHOTON_LIMIT
    expected = _draw_bright(sources[~faint], electrons[~faint], rows[~faint], cols[~faint], psf)
    random = np.random.default_rng(seed)
    photons = np.where(faint, random.poisson(np.where(faint, electrons, 0.0)), 0)
    return Light(expected, _shoot_faint(sources, photons, (rows, cols), psf, random))


def _unit_profile(profile: Profile) -> "galsim.GSObject":
    """A round galaxy of unit flux and a half-light radius of 1."""
    if profile is Profile.EXPONENTIAL:
        return galsim.Exponential(half_light_radius=1.0)
    return galsim.DeVaucouleurs(half_light_radius=1.0, trunc=_TRUNCATION)


def _shoot_faint(
    sources: Sources,
    photons: NDArray[np.int64],
    places: tuple[Floats, Floats],
    psf: Psf,
    random: np.random.Generator,
) -> Floats:
    """Photons of all faint sources at once: GalSim shoots one round profile, each source stretches its share."""
    shape = (FIELD_STEP + 2 * MARGIN, COLUMNS)
    rows, cols = places
    deviate = galsim.BaseDeviate(int(random.integers(1, 2**31)))
    hits = np.zeros(shape[0] * shape[1], dtype=np.int64)
    for profile in Profile:
        chosen = np.flatnonzero(sources.profile == profile)
        total = int(photons[chosen].sum())
        if total == 0:
            continue
        owner = np.repeat(chosen, photons[chosen])
        # Shuffled: a sum of Gaussians need not deal its components at random, and neighbours share a source.
        blur = psf.optical.shoot(total, deviate)
        order = random.permutation(total)
        x, y = cols[owner] + blur.x[order], rows[owner] + blur.y[order]
        if profile is not Profile.POINT:
            light = _unit_profile(profile).shoot(total, deviate)
            dx, dy = _stretch(sources, owner, light.x, light.y)
            x, y = x + dx, y + dy
        ix, iy = np.floor(x + 0.5).astype(np.int64), np.floor(y + 0.5).astype(np.int64)
        inside = (ix >= 0) & (ix < shape[1]) & (iy >= 0) & (iy < shape[0])
        hits += np.bincount(iy[inside] * shape[1] + ix[inside], minlength=hits.size)
    return hits.reshape(shape).astype(np.float64)


def _stretch(sources: Sources, owner: NDArray[np.int64], x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Give photons of a round unit profile the size, axis ratio and angle of the sources that own them, in pixels.

    The half-light radius is that of the major axis, so the major axis keeps it and the minor axis shrinks.
    """
    major = sources.half_light_radius / PIXEL_ARCSEC
    angle = np.radians(sources.position_angle)
    along, across = x * major[owner], y * (major * sources.axis_ratio)[owner]
    cos, sin = np.cos(angle)[owner], np.sin(angle)[owner]
    return along * cos - across * sin, along * sin + across * cos


def _draw_bright(sources: Sources, electrons: Floats, rows: Floats, cols: Floats, psf: Psf) -> Floats:
    """Mean light of the bright sources, each on a stamp as large as its light matters."""
    canvas = np.zeros((FIELD_STEP + 2 * MARGIN, COLUMNS))
    image = galsim.ImageD(canvas, xmin=0, ymin=0)
    for i in range(len(sources)):
        radius = float(sources.half_light_radius[i]) / PIXEL_ARCSEC
        half = _stamp_half(float(electrons[i]), radius, psf)
        x, y = int(np.floor(cols[i] + 0.5)), int(np.floor(rows[i] + 0.5))
        bounds = galsim.BoundsI(x - half, x + half, y - half, y + half) & image.bounds
        if not bounds.isDefined():
            continue
        if sources.profile[i] == Profile.POINT:
            light = psf.effective * float(electrons[i])
        else:
            ratio, angle = float(sources.axis_ratio[i]), float(sources.position_angle[i])
            unit = _unit_profile(Profile(int(sources.profile[i])))
            # GalSim's shear keeps the area; the major axis keeps the radius when the circle is sqrt(q) of it.
            galaxy = unit.dilate(radius * np.sqrt(ratio)).shear(q=ratio, beta=angle * galsim.degrees)
            light = galsim.Convolve([galaxy, psf.effective]) * float(electrons[i])
        light.drawImage(
            image=image[bounds], add_to_image=True, scale=1.0, method="no_pixel",
            center=galsim.PositionD(float(cols[i]), float(rows[i])),
        )  # fmt: skip
    return canvas


def _stamp_half(electrons: float, radius: float, psf: Psf) -> int:
    """Half the side of a stamp, pixels: where the widest Gaussian falls below 0.02 electrons a pixel, and 8 radii."""
    widest, part = psf.sigmas[-1], psf.fractions[-1]
    peak = part * electrons / (2 * np.pi * widest**2)
    reach = widest * np.sqrt(2 * np.log(max(peak / 0.02, np.e)))
    return int(min(reach + _TRUNCATION * radius + 2, MARGIN - 16))

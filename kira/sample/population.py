"""The sources of a patch of sky: how many, how bright, what colour, what shape.

A patch is the 1361 rows that one field adds to its strip. Its sources depend on seed, camcol and field number alone:
a sample of more fields, or another run, sees the same sky.
"""

from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from kira.sample.camera import COLUMNS, FIELD_STEP
from kira.sample.geometry import COLUMN_DEGREES, ROW_DEGREES, Affine, solution
from kira.sample.spec import MAGNITUDE_LIMITS, SampleSpec, Stream
from kira.sdss import BANDS

Floats = NDArray[np.float64]

BORDER = 48
"""Columns beyond either edge of the CCD that still have sources: their light reaches in."""
PATCH_AREA = FIELD_STEP * ROW_DEGREES * (COLUMNS + 2 * BORDER) * COLUMN_DEGREES
"""Square degrees of a patch."""

STAR_SLOPE, GALAXY_SLOPE = 0.15, 0.40
"""d log10 N / dm. Galaxies: the slope of SDSS's counts beyond r = 18 or so (Yasuda et al. 2001, AJ 122, 1104); stars:
the flatter counts of high galactic latitudes. The default densities were set so that SEP finds as many sources in each
band as on SDSS's frames of runs 94 and 4192; for galaxies that is 1,200 a magnitude and square degree at r = 20."""


class Profile(IntEnum):
    """Light profile of a source."""

    POINT = 0
    """A star: the PSF."""
    EXPONENTIAL = 1
    """Disk galaxy, Sersic index 1."""
    DE_VAUCOULEURS = 2
    """Elliptical galaxy, Sersic index 4."""


@dataclass(frozen=True)
class Sources:
    """Sources as columns; all arrays have the same length n.

    Parameters
    ----------
    ident : ndarray of int64, shape (n,)
        100,000 x field + number within the patch; unique within a camcol.
    profile : ndarray of int8, shape (n,)
        See `Profile`.
    row, col : ndarray of float64, shape (n,)
        Row within the patch (-0.5 to 1360.5) and column, in band r's pixels, 0 at the centre of the first.
    ra, dec : ndarray of float64, shape (n,)
        ICRS, deg.
    flux : ndarray of float64, shape (n, 5)
        Total flux in u g r i z, nanomaggies.
    half_light_radius : ndarray of float64, shape (n,)
        Along the major axis, arcsec; 0 for stars.
    axis_ratio : ndarray of float64, shape (n,)
        Minor over major axis; 1 for stars.
    position_angle : ndarray of float64, shape (n,)
        Of the major axis, deg, north through east, which is from +column towards +row.
    """

    ident: NDArray[np.int64]
    profile: NDArray[np.int8]
    row: Floats
    col: Floats
    ra: Floats
    dec: Floats
    flux: Floats
    half_light_radius: Floats
    axis_ratio: Floats
    position_angle: Floats

    def __len__(self) -> int:
        return len(self.ident)

    def __getitem__(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Sources":
        """Some of the sources, by mask or index."""
        return Sources(*(getattr(self, f.name)[chosen] for f in fields(self)))

    @property
    def is_star(self) -> NDArray[np.bool_]:
        """Which are stars, shape (n,)."""
        return np.asarray(self.profile == Profile.POINT)


def patch(spec: SampleSpec, camcol: int, field: int) -> Sources:
    """Sources whose centres lie in the patch of one field."""
    random = spec.random(Stream.POPULATION, camcol, field)
    n_stars, n_galaxies = (int(random.poisson(d * PATCH_AREA)) for d in (spec.star_density, spec.galaxy_density))
    n = n_stars + n_galaxies
    r_mag = np.concatenate((_magnitudes(random, n_stars, STAR_SLOPE), _magnitudes(random, n_galaxies, GALAXY_SLOPE)))
    row = random.uniform(-0.5, FIELD_STEP - 0.5, n)
    col = random.uniform(-0.5 - BORDER, COLUMNS - 0.5 + BORDER, n)

    # Ellipticals: a third of the bright galaxies, fewer of the faint ones.
    elliptical = random.random(n_galaxies) < np.clip(0.35 - 0.05 * (r_mag[n_stars:] - 18.0), 0.08, 0.45)
    profile = np.concatenate(
        (np.full(n_stars, Profile.POINT), np.where(elliptical, Profile.DE_VAUCOULEURS, Profile.EXPONENTIAL))
    )
    colours = np.concatenate((_star_colours(random, r_mag[:n_stars]), _galaxy_colours(random, elliptical)))
    magnitudes = _magnitudes_of(r_mag, colours)
    radius, ratio = _shapes(random, r_mag[n_stars:], elliptical)
    where: Affine = solution(camcol, field, "r")
    ra, dec = where.sky(row, col)
    return Sources(
        ident=100_000 * field + np.arange(n, dtype=np.int64),
        profile=profile.astype(np.int8),
        row=row,
        col=col,
        ra=ra,
        dec=dec,
        flux=10.0 ** (0.4 * (22.5 - magnitudes)),
        half_light_radius=np.concatenate((np.zeros(n_stars), radius)),
        axis_ratio=np.concatenate((np.ones(n_stars), ratio)),
        position_angle=random.uniform(0.0, 180.0, n),
    )


def _magnitudes(random: np.random.Generator, n: int, slope: float) -> Floats:
    """R magnitudes with counts N(m) ~ 10^(slope m) between the limits, by the inverse of their integral."""
    bright, faint = (10.0 ** (slope * m) for m in MAGNITUDE_LIMITS)
    values: Floats = np.log10(bright + (faint - bright) * random.random(n)) / slope
    return values


def _magnitudes_of(r_mag: Floats, colours: Floats) -> Floats:
    """Magnitudes in u g r i z, shape (n, 5), from r and the colours u-g, g-r, r-i, i-z, shape (n, 4)."""
    ug, gr, ri, iz = colours.T
    out = np.empty((len(r_mag), len(BANDS)))
    out[:, 2] = r_mag
    out[:, 1] = r_mag + gr
    out[:, 0] = out[:, 1] + ug
    out[:, 3] = r_mag - ri
    out[:, 4] = out[:, 3] - iz
    return out


def _star_colours(random: np.random.Generator, r_mag: Floats) -> Floats:
    """Colours u-g, g-r, r-i, i-z of stars, shape (n, 4), near the stellar locus.

    Straight pieces, by eye, along the locus of Covey et al. 2007 (AJ 134, 2398): r-i follows g-r for F to K dwarfs; M
    dwarfs, more of the faint ones, stay at g-r = 1.4 and spread in r-i.
    """
    n = len(r_mag)
    is_m_dwarf = random.random(n) < np.clip(0.25 + 0.06 * (r_mag - 17.0), 0.1, 0.6)
    gr = np.where(is_m_dwarf, random.normal(1.42, 0.06, n), 0.25 + random.gamma(2.2, 0.16, n))
    ri = np.where(is_m_dwarf, 0.6 + random.gamma(2.5, 0.2, n), 0.38 * gr - 0.03) + random.normal(0.0, 0.02, n)
    ug = np.clip(0.55 + 1.55 * gr, 0.8, 2.7) + random.normal(0.0, 0.07, n)
    iz = 0.55 * ri - 0.01 + random.normal(0.0, 0.02, n)
    return np.column_stack((ug, np.clip(gr, None, 1.7), np.clip(ri, None, 2.2), iz))


def _galaxy_colours(random: np.random.Generator, elliptical: NDArray[np.bool_]) -> Floats:
    """Colours u-g, g-r, r-i, i-z of galaxies, shape (n, 4): two clouds, red and blue.

    After Strateva et al. 2001 (AJ 122, 1861). Where the clouds lie was set with the numbers of detections by band;
    redshift is not modelled.
    """
    n = len(elliptical)
    red = (1.75, 1.15, 0.48, 0.34)
    blue = (1.10, 0.72, 0.34, 0.22)
    spread = np.array((0.25, 0.22, 0.11, 0.12))
    middle: Floats = np.where(elliptical[:, None], red, blue)
    return middle + spread * random.standard_normal((n, 4))


def _shapes(random: np.random.Generator, r_mag: Floats, elliptical: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Half-light radius (arcsec) along the major axis, and axis ratio.

    Radii are log-normal (as Shen et al. 2003, MNRAS 343, 978, find at a given luminosity) about a median that shrinks
    with magnitude: 2.3 arcsec at r = 18, 1.3 at 20, 0.7 at 22, plausible and not fitted to anything.
    """
    n = len(r_mag)
    median = 0.11 - 0.13 * (r_mag - 20.0)
    radius = np.clip(10.0 ** (median + random.normal(0.0, 0.17, n)), 0.1, 12.0)
    ratio = np.where(elliptical, np.clip(random.normal(0.75, 0.15, n), 0.3, 1.0), random.uniform(0.2, 1.0, n))
    return radius, ratio

"""What real frames are held against: photoObj, Stripe 82's stars, the LSST stack.

`python tests/unit/references.py SHARED/sdss` prints the tables of docs/comparison.md.
"""

import csv
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from kira.catalog.formats import to_astropy
from kira.catalog.survey import survey_table
from kira.extraction import SurveyProfile, extract
from kira.laptop import read_file
from kira.validation.reference import Matched, Offset, astrometry, completeness, match, zero_point

BANDS = "ugriz"
PROFILE = SurveyProfile()
RADIUS = 1.2
"""Arcsec, 3 pixels."""


@cache
def measured(path: Path, *, by_wcs: bool = False) -> Any:
    frame, _ = read_file(path)
    if by_wcs:
        frame = replace(frame, solution=None)
    return to_astropy(survey_table(frame, extract(frame, PROFILE), PROFILE))


def dr12(root: Path, band: str, *, by_wcs: bool = False) -> Any:
    path = root / f"sas/dr12/boss/photoObj/frames/301/94/1/frame-{band}-000094-1-0012.fits.bz2"
    return measured(path, by_wcs=by_wcs)


def stripe82(root: Path, band: str) -> Any:
    return measured(root / f"das/imaging/4192/40/corr/4/fpC-004192-{band}4-0300.fit.gz")


@cache
def photo_obj(root: Path) -> Any:
    """Objects of the field that photo did not deblend any further; all are secondary, for another run is primary."""
    with fits.open(root / "sas/dr12/boss/photoObj/301/94/1/photoObj-000094-1-0012.fits") as hdus:
        rows = Table(hdus[1].data)
    return rows[rows["MODE"] <= 2]


def near(t: Any, ra: Any, dec: Any, radius: float = RADIUS) -> Matched:
    return match(np.asarray(t["ra"]), np.asarray(t["dec"]), np.asarray(ra), np.asarray(dec), radius)


@dataclass(frozen=True)
class Compared:
    """A band against a reference: median distance and offsets in arcsec, and magnitudes.

    These are by circle, 1 to 6, and as stars: of all, and of the brighter and the fainter half.
    """

    matched: int
    distance: float
    east: Offset
    north: Offset
    magnitudes: dict[int, Offset]
    star: Offset
    halves: tuple[Offset, Offset]


def against_photo_obj(root: Path, band: str, *, by_wcs: bool = False, of_band: bool = False) -> Compared:
    """All objects of S/N above 20 for positions; of these the unsaturated, unflagged stars for magnitudes.

    Positions by the header's WCS where so wanted, and against photo's own for the band instead of those for r.
    """
    objects, t, number = photo_obj(root), dr12(root, band, by_wcs=by_wcs), BANDS.index(band)
    flux = objects["PSFFLUX"][:, number]
    objects = objects[flux * np.sqrt(objects["PSFFLUX_IVAR"][:, number]) > 20]
    flux, saturated = objects["PSFFLUX"][:, number], objects["FLAGS"][:, number] & (1 << 18)
    ra, dec = objects["RA"], objects["DEC"]
    if of_band:
        ra, dec = ra + objects["OFFSETRA"][:, number] / 3600, dec + objects["OFFSETDEC"][:, number] / 3600
    found = near(t, ra, dec)
    rows = t[found.index]
    good = found.within & (objects["OBJC_TYPE"] == 6) & (saturated == 0) & (rows["flags"] == 0)
    return _compared(t, ra, dec, found, rows, 22.5 - 2.5 * np.log10(flux), np.asarray(good))


def against_stripe_82(root: Path, band: str) -> Compared:
    """All stars for positions; of these the unflagged ones that are bright, but not saturated, for magnitudes."""
    with fits.open(root / "reference/stripe82-stars.fits") as hdus:
        stars = hdus[1].data.copy()
    t = stripe82(root, band)
    apart = (stars["ra"] - np.median(t["ra"]) + 180) % 360 - 180  # they count from -180
    stars = stars[(abs(apart) < 0.3) & (abs(stars["dec"] - np.median(t["dec"])) < 0.3)]
    found = near(t, stars["ra"], stars["dec"])
    rows = t[found.index]
    bright = (stars[band] > 14) & (stars[band] < {"u": 19.5, "z": 18.5}.get(band, 20.0))
    good = found.within & bright & (rows["flags"] == 0) & (rows["fluxerr_aper_6"] < 0.05 * rows["flux_aper_6"])
    return _compared(t, stars["ra"], stars["dec"], found, rows, stars[band], np.asarray(good))


def _compared(t: Any, ra: Any, dec: Any, found: Matched, rows: Any, magnitude: Any, good: Any) -> Compared:
    east, north = astrometry(np.asarray(t["ra"]), np.asarray(t["dec"]), np.asarray(ra), np.asarray(dec), found)
    magnitudes = {
        n: zero_point(np.asarray(rows[f"flux_aper_{n}"][good]), np.asarray(magnitude[good])) for n in range(1, 7)
    }
    flux, magnitude = np.asarray(rows["flux_star"][good]), np.asarray(magnitude[good])
    bright = magnitude < np.median(magnitude)
    halves = zero_point(flux[bright], magnitude[bright]), zero_point(flux[~bright], magnitude[~bright])
    distance = float(np.median(found.separation[found.within]))
    return Compared(int(found.within.sum()), distance, east, north, magnitudes, zero_point(flux, magnitude), halves)


def lsst_found(root: Path, band: str) -> tuple[int, int]:
    """Detections of the LSST stack at S/N above 10 and off the edge: how many are found within 3 pixels, and all."""
    with (root / "reference/lsst-stack-run4192-camcol4-field300.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["band"] == band and row["edge"] == "False"]
    numbers = np.array([[float(row[name] or "nan") for name in ("x_px", "y_px", "psf_flux_dn", "psf_flux_err_dn")]
                        for row in rows])  # fmt: skip
    numbers = numbers[numbers[:, 2] > 10 * numbers[:, 3]]
    t = stripe82(root, band)
    ours = np.column_stack([t["x"], t["y"]])
    apart = np.linalg.norm(numbers[:, None, :2] - ours[None], axis=-1).min(axis=1)
    return int((apart < 3).sum()), len(numbers)


def main(root: Path) -> None:
    """Print the tables."""
    found = near(dr12(root, "r"), photo_obj(root)["RA"], photo_obj(root)["DEC"], 2.0)
    print("| r of photoObj | found | there | part |\n|---|---|---|---|")
    for one in completeness(found, photo_obj(root)["PSFMAG"][:, 2], (14, 18, 20, 21, 22, 23)):
        print(f"| {one.brighter:g}–{one.fainter:g} | {one.found} | {one.there} | {one.fraction:.1%} |")
    radii = " | ".join(f'{radius:g}"' for radius in PROFILE.apertures[2:])
    for name, compare in (("photoObj", against_photo_obj), ("Stripe 82", against_stripe_82)):
        print(f"\n| against {name} | matched | distance | east | north | stars | {radii} | star |\n|{'---|' * 11}")
        for band in BANDS:
            one = compare(root, band)
            circles = " | ".join(
                f"{one.magnitudes[n].median:+.3f} ± {one.magnitudes[n].error:.3f}" for n in range(3, 7)
            )
            print(
                f"| {band} | {one.matched} | {one.distance:.3f} | {one.east.median:+.3f} | {one.north.median:+.3f} | "
                f"{one.magnitudes[4].number} | {circles} | {one.star.median:+.3f} ± {one.star.error:.3f} |"
            )
    print("\n| distance to photoObj, by | u | g | r | i | z |\n|---|---|---|---|---|---|")
    for name, how in (
        ("the header's WCS, its position", {"by_wcs": True}),
        ("asTrans, its position", {}),
        ("asTrans, its position in the band", {"of_band": True}),
    ):
        print(f"| {name} | " + " | ".join(f"{against_photo_obj(root, b, **how).distance:.3f}" for b in BANDS) + " |")
    print("\n| LSST stack, S/N > 10 | u | g | r | i | z |\n|---|---|---|---|---|---|")
    parts = [lsst_found(root, band) for band in BANDS]
    print("| found | " + " | ".join(f"{n} of {m} ({n / m:.1%})" for n, m in parts) + " |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Debian's SExtractor run on a frame with Kira's settings, and how far the two agree.

`python tests/unit/sextractor.py FOLDER-OF-SDSS-DATA` prints the tables of docs/comparison.md.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sep
from astropy.io import fits
from images import NoisyFrame
from real_frames import COUNTS, frame

from kira.extraction import Parameters, SurveyProfile, extract
from kira.extraction.detection import dithered, quantum
from kira.frames import Frame

Floats = npt.NDArray[np.float64]

LIKE_SEXTRACTOR = SurveyProfile(background="mode", detection_noise="global", dither=0.0, aperture_centre="barycentre")
"""One rms for all pixels, one pass of the background and of the numbers as they are, circles around the barycentre."""
COLUMNS = (
    "X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE", "ERRX2_IMAGE", "ERRX2WIN_IMAGE", "FLUX_AUTO", "FLUXERR_AUTO",
    "KRON_RADIUS", "FLUX_ISO", "FLUXERR_ISO", "FLUX_RADIUS(3)", "ISOAREAF_IMAGE", "A_IMAGE", "FWHM_IMAGE", "FLAGS",
    "FLUX_APER(6)", "FLUXERR_APER(6)",
)  # fmt: skip
SETTINGS = {
    "CATALOG_TYPE": "FITS_1.0", "DETECT_MINAREA": 5, "DETECT_THRESH": 1.5, "ANALYSIS_THRESH": 1.5, "FILTER": "Y",
    "DEBLEND_NTHRESH": 32, "DEBLEND_MINCONT": 0.005, "CLEAN": "Y", "CLEAN_PARAM": 1.0, "MASK_TYPE": "NONE",
    "BACK_SIZE": 64, "BACK_FILTERSIZE": 3, "BACKPHOTO_TYPE": "GLOBAL", "WEIGHT_TYPE": "NONE", "GAIN": 0,
    "SATUR_LEVEL": "1e8", "PHOT_AUTOPARAMS": "2.5,3.5", "PHOT_FLUXFRAC": "0.2,0.5,0.8", "VERBOSE_TYPE": "QUIET",
    "MEMORY_OBJSTACK": 50_000, "MEMORY_PIXSTACK": 3_000_000, "MEMORY_BUFSIZE": 2048,
}  # fmt: skip


def sextractor(image: Frame, diameters: Floats, **settings: Any) -> Any:
    """Catalogue of SExtractor as a FITS table; diameters of six circles in pixels."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fits.writeto(folder / "image.fits", image.data)
        (folder / "columns").write_text("\n".join(COLUMNS) + "\n")
        (folder / "kernel").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
        options = SETTINGS | {
            "CATALOG_NAME": folder / "catalogue", "PARAMETERS_NAME": folder / "columns",
            "FILTER_NAME": folder / "kernel", "PHOT_APERTURES": ",".join(f"{one:.7f}" for one in diameters),
        } | settings  # fmt: skip
        words = [word for key, value in options.items() for word in (f"-{key}", str(value))]
        command = ["source-extractor", str(folder / "image.fits"), "-c", "/dev/null", *words]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        return np.array(fits.getdata(folder / "catalogue", 1))


@dataclass(frozen=True)
class Agreement:
    """Kira's table and SExtractor's of the same frame, matched by barycentre.

    Parameters
    ----------
    ours, theirs : structured arrays, shapes (n,) and (m,)
    index : ndarray of int, shape (n,)
        The nearest of theirs to each of ours.
    distance : ndarray of float, shape (n,)
        Pixels.
    seconds : (float, float)
        Kira's and SExtractor's time.
    """

    ours: Any
    theirs: Any
    index: npt.NDArray[np.int64]
    distance: Floats
    seconds: tuple[float, float]

    @property
    def matched(self) -> npt.NDArray[np.bool_]:
        """Which of ours have one of theirs within half a pixel."""
        return self.distance < 0.5

    @property
    def clean(self) -> npt.NDArray[np.bool_]:
        """Which of ours are matched and without a flag in both; NEIGHBOURS has its counterpart among SExtractor's."""
        flags = self.ours["flags" if "flags" in self.ours.dtype.names else "flag_extract"]
        return self.matched & (flags == 0) & (self.theirs["FLAGS"][self.index] == 0)

    def difference(self, ours: Floats, theirs: Floats) -> Floats:
        """Relative difference of clean sources; both 0 is none."""
        one, other = ours[self.clean], theirs[self.index][self.clean]
        return np.abs(np.divide(one - other, other, out=np.where(one == other, 0.0, np.inf), where=other != 0))


def agreement(image: Frame, profile: SurveyProfile | Parameters = LIKE_SEXTRACTOR, **settings: Any) -> Agreement:
    """Extract a frame with Kira and SExtractor."""
    survey = isinstance(profile, SurveyProfile)
    # SExtractor's errors are of one noise for all pixels: so are Kira's here.
    known = NoisyFrame(image.id, image.data, image.wcs)
    object.__setattr__(known, "variance", sep.Background(image.data).globalrms ** 2)
    began = time.perf_counter()
    radii = np.array(profile.apertures) / known.pixel_scale if survey else np.arange(5.0, 11.0)
    theirs = sextractor(image, 2 * radii, **settings)
    seconds = time.perf_counter() - began
    found = extract(known, profile)
    index, distance = [], []
    for begin in range(0, found.n_sources, 500):
        part = found.table[begin : begin + 500]
        apart = np.hypot(part["x"][:, None] + 1 - theirs["X_IMAGE"], part["y"][:, None] + 1 - theirs["Y_IMAGE"])
        index.append(apart.argmin(axis=1))
        distance.append(apart.min(axis=1))
    return Agreement(found.table, theirs, np.concatenate(index), np.concatenate(distance), (found.seconds, seconds))


def as_documented_by_sep(image: Frame) -> tuple[Agreement, Floats]:
    """FLUX_AUTO by the recipe of SEP's documentation: a circle of 1.75 pixels where the Kron ellipse is smaller."""
    found = agreement(image)
    ours = found.ours
    pixels = image.data - sep.Background(image.data).back()
    shape = [ours[name] for name in ("x", "y", "a", "b", "theta")]
    kron, _ = sep.kron_radius(pixels, *shape, 6.0)
    flux, _, _ = sep.sum_ellipse(pixels, *shape, 2.5 * kron, subpix=1)
    small = kron * np.sqrt(ours["a"] * ours["b"]) < 1.75
    flux[small], _, _ = sep.sum_circle(pixels, ours["x"][small], ours["y"][small], 1.75, subpix=1)
    return found, flux


def main() -> None:
    root = Path(sys.argv[1])
    print("| frame | Kira | SExtractor | within 0.5 px | median apart | clean |", end=" ")
    print("AUTO | circles | ISO | r50 | AUTO error | windowed position's error | kira: Kron | kira: circle |")
    print("|---" * 14 + "|")
    for text in COUNTS:
        image = frame(root, text)
        one = agreement(image)
        ours, theirs = one.ours, one.theirs
        kira = agreement(image, Parameters(), PHOT_AUTOPARAMS="2.5,0.0")
        pairs = [
            one.difference(ours["flux_auto"], theirs["FLUX_AUTO"]),
            np.concatenate([one.difference(ours["flux_aper"][:, i], theirs["FLUX_APER"][:, i]) for i in range(6)]),
            one.difference(ours["flux_iso"], theirs["FLUX_ISO"]),
            one.difference(ours["r50"], theirs["FLUX_RADIUS"][:, 1]),
            one.difference(ours["fluxerr_auto"], theirs["FLUXERR_AUTO"]),
            one.difference(ours["x_win_err"] ** 2, theirs["ERRX2WIN_IMAGE"]),
            kira.difference(kira.ours["flux_ellipse"], kira.theirs["FLUX_AUTO"]),
            kira.difference(kira.ours["flux_circle"], kira.theirs["FLUX_APER"][:, 0]),
        ]
        cells = [
            text, str(len(ours)), str(len(theirs)), f"{one.matched.mean():.2%}",
            f"{np.median(one.distance[one.matched]):.1e} px", str(one.clean.sum()),
            *(f"{np.median(pair):.0e}, {(pair < 1e-3).mean():.1%}" for pair in pairs),
        ]  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)
    print()
    print("| FLUX_AUTO within 1e-3 of SExtractor's, clean sources | " + " | ".join(list(COUNTS)[6:11]) + " |")
    print("|---" * 6 + "|")
    rows: dict[str, list[str]] = {"survey": [], "recipe of SEP's documentation": [], "no least ellipse (kira)": []}
    for text in list(COUNTS)[6:11]:
        found, recipe = as_documented_by_sep(frame(root, text))
        kira = agreement(frame(root, text), Parameters())
        for name, difference in zip(rows, (
            found.difference(found.ours["flux_auto"], found.theirs["FLUX_AUTO"]),
            found.difference(recipe, found.theirs["FLUX_AUTO"]),
            kira.difference(kira.ours["flux_ellipse"], kira.theirs["FLUX_AUTO"]),
        ), strict=True):  # fmt: skip
            rows[name].append(f"{(difference < 1e-3).mean():.1%}")
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()
    print("| frame | step / rms | background's shift / rms: mean | largest of a cell of 64 x 64 |")
    print("|---" * 4 + "|")
    for text in COUNTS:
        image = frame(root, text)
        plain, even = sep.Background(image.data), sep.Background(dithered(image.data, quantum(image)))
        shift = (plain.back() - even.back())[32::64, 32::64] / even.globalrms
        cells = [f"{quantum(image) / even.globalrms:.2f}", f"{shift.mean():+.3f}", f"{np.abs(shift).max():.2f}"]
        print(f"| {text} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

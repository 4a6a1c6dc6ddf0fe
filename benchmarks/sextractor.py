"""Debian's source-extractor, told to measure what a profile of Kira measures."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from benchmarks.frames import FrameFile
from benchmarks.machine import ONE_THREAD, pinned
from kira.extraction import Parameters, Profile, SurveyProfile

PROGRAM = "source-extractor"
SCALE = 0.396
"""Arcsec a pixel, for the circles of frames that are timed; where numbers are compared, the frame's own."""

_POSITIONS = (
    "NUMBER", "X_IMAGE", "Y_IMAGE", "ERRX2_IMAGE", "ERRY2_IMAGE", "ERRXY_IMAGE", "ALPHA_J2000", "DELTA_J2000",
    "XMIN_IMAGE", "XMAX_IMAGE", "YMIN_IMAGE", "YMAX_IMAGE", "XPEAK_IMAGE", "YPEAK_IMAGE", "A_IMAGE", "B_IMAGE",
    "THETA_IMAGE", "ISOAREAF_IMAGE", "THRESHOLD", "FLUX_MAX", "FLUX_ISO", "FLUXERR_ISO", "FLUX_AUTO", "FLUXERR_AUTO",
    "KRON_RADIUS", "FLAGS",
)  # fmt: skip
_KIRA = ("X2_IMAGE", "Y2_IMAGE", "XY_IMAGE", "CXX_IMAGE", "CYY_IMAGE", "CXY_IMAGE")
_SURVEY = (
    "XWIN_IMAGE", "YWIN_IMAGE", "ERRX2WIN_IMAGE", "ERRY2WIN_IMAGE", "ERRXYWIN_IMAGE", "FLUX_RADIUS(3)", "BACKGROUND",
    "ELONGATION", "ELLIPTICITY", "FWHM_IMAGE",
)  # fmt: skip
_SETTINGS = {
    "CATALOG_TYPE": "FITS_1.0", "FILTER": "Y", "MASK_TYPE": "NONE", "BACKPHOTO_TYPE": "GLOBAL", "WEIGHT_TYPE": "NONE",
    "GAIN": 0, "SATUR_LEVEL": "1e8", "CHECKIMAGE_TYPE": "NONE", "VERBOSE_TYPE": "QUIET", "MEMORY_OBJSTACK": 50_000,
    "MEMORY_PIXSTACK": 3_000_000, "MEMORY_BUFSIZE": 2048, "NTHREADS": 1,
}  # fmt: skip

_TIMED = """
import json, resource, subprocess, sys, time
with open(sys.argv[1], "rb") as names:
    began = time.monotonic()
    subprocess.run(sys.argv[2:], stdin=names, stdout=subprocess.DEVNULL, check=True)
    seconds = time.monotonic() - began
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024]))
"""
"""Times a command from a small process: to a child's peak the kernel counts what its parent held when it was made, and
of processes that live for a fraction of a second nobody else knows it."""


def is_installed() -> bool:
    """Whether the program is there."""
    return shutil.which(PROGRAM) is not None


def like_sextractor(profile: Profile) -> Profile:
    """Return a profile with what SExtractor has too: one noise for all pixels, one pass of the background, no dither.

    Circles are around the barycentre. Numbers can be compared only so; what is timed is the profile as it is.
    """
    if not isinstance(profile, SurveyProfile):
        return profile
    return replace(profile, background="mode", detection_noise="global", dither=0.0, aperture_centre="barycentre")


@dataclass(frozen=True)
class Configured:
    """A configuration in a folder.

    Parameters
    ----------
    folder : Path
    options : tuple of str
        Of the command line, for any frame.
    """

    folder: Path
    options: tuple[str, ...]

    @classmethod
    def write(cls, folder: Path, profile: Profile, scale: float = SCALE, circles: int | None = None) -> "Configured":
        """Write the files that the program reads.

        Parameters
        ----------
        folder : Path
        profile : Profile
        scale : float
            Arcsec a pixel.
        circles : int, optional
            Measure the first of the profile's circles only.
        """
        folder.mkdir(parents=True, exist_ok=True)
        radii, auto = _radii(profile, scale)
        radii = radii[:circles]
        columns = [*_POSITIONS, *(_SURVEY if isinstance(profile, SurveyProfile) else _KIRA)]
        columns += [f"FLUX_APER({len(radii)})", f"FLUXERR_APER({len(radii)})"]
        (folder / "columns").write_text("\n".join(columns) + "\n")
        rows = (" ".join(f"{weight:g}" for weight in row) for row in profile.kernel)
        (folder / "kernel").write_text("CONV NORM\n" + "\n".join(rows) + "\n")
        settings = _SETTINGS | {
            "PARAMETERS_NAME": folder / "columns", "FILTER_NAME": folder / "kernel",
            "DETECT_MINAREA": profile.minarea, "DETECT_THRESH": profile.threshold,
            "ANALYSIS_THRESH": profile.threshold, "DEBLEND_NTHRESH": profile.deblend_levels,
            "DEBLEND_MINCONT": profile.deblend_contrast, "CLEAN": "Y" if profile.clean else "N",
            "CLEAN_PARAM": profile.clean or 1.0, "BACK_SIZE": profile.mesh, "BACK_FILTERSIZE": profile.mesh_filter,
            "PHOT_AUTOPARAMS": auto, "PHOT_FLUXFRAC": "0.2,0.5,0.8",
            "PHOT_APERTURES": ",".join(f"{2 * radius:.7f}" for radius in radii),
        }  # fmt: skip
        return cls(folder, ("-c", "/dev/null", *(w for k, v in settings.items() for w in (f"-{k}", str(v)))))

    def measure(self, path: Path) -> Any:
        """Catalogue of one frame, as a structured array."""
        catalogue = self.folder / "one.cat"
        command = [PROGRAM, f"{path}[0]", *self.options, "-CATALOG_NAME", str(catalogue)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
        return np.array(fits.getdata(catalogue, 1))

    def run(self, files: Sequence[FrameFile], cores: int) -> tuple[float, dict[str, int], float]:
        """Measure frames by `xargs -P`, the program once for each, as it is used.

        Returns
        -------
        seconds : float
        sources : dict of str to int
            By frame.
        peak : float
            Largest resident size of one of its processes, MiB.
        """
        out = self.folder / "catalogues"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        (place,) = {file.path.parent for file in files}
        command = [
            "xargs", "-P", str(cores), "-I", "{}", PROGRAM, f"{place}/{{}}.fits[0]", *self.options,
            "-CATALOG_NAME", f"{out}/{{}}.cat",
        ]  # fmt: skip
        names = self.folder / "names"
        names.write_text("".join(f"{file.frame}\n" for file in files))
        timed = [sys.executable, "-S", "-c", _TIMED, str(names), *command]
        with pinned(cores):
            done = subprocess.run(timed, check=True, capture_output=True, text=True, env=os.environ | ONE_THREAD)
        seconds, peak = json.loads(done.stdout)
        counts = {str(f.frame): int(fits.getval(out / f"{f.frame}.cat", "NAXIS2", 1)) for f in files}
        return seconds, counts, peak

    def start_up(self) -> float:
        """Seconds that the program takes for an image of 64 x 64 pixels of noise: the price of its start."""
        path = self.folder / "small.fits"
        noise = np.random.default_rng(1).normal(100.0, 1.0, (64, 64)).astype(np.float32)
        fits.writeto(path, noise, overwrite=True)
        self.measure(path)
        began = time.monotonic()
        self.measure(path)
        return time.monotonic() - began


def _radii(profile: Profile, scale: float) -> tuple[list[float], str]:
    """Radii of the circles in pixels, and PHOT_AUTOPARAMS."""
    if isinstance(profile, SurveyProfile):
        return [one / scale for one in profile.apertures], f"{profile.kron_factor},{profile.kron_minimum}"
    if isinstance(profile, Parameters):
        return [profile.circle_radius], f"{profile.kron_factor},0.0"
    raise TypeError(f"no kind of profile: {type(profile).__name__}")

"""Circles at places of real frames where nothing was found: after one pass of the background, and after two.

`python tests/unit/empty.py SHARED/sdss` prints the table of docs/comparison.md.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sep
from real_frames import COUNTS, full_frame

from kira.extraction import SurveyProfile
from kira.extraction.background import remaining_sky
from kira.extraction.detection import detect, quantum, subtract_background
from kira.extraction.noise import pixel_noise, unusable
from kira.extraction.sep_engine import SepEngine
from kira.frames import Frame

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
PROFILE = SurveyProfile()


@dataclass(frozen=True)
class Passes:
    """A frame's pixels, all arrays of its shape.

    Parameters
    ----------
    first : ndarray of float32
        After the first pass of the background.
    sky : ndarray of float32
        What the second takes off.
    taken : ndarray of bool
        Where a source is, or a masked pixel.
    noise : ndarray of float32
    scale : float
        Arcsec a pixel.
    """

    first: Image
    sky: Image
    taken: npt.NDArray[np.bool_]
    noise: Image
    scale: float


def passes(image: Frame, profile: SurveyProfile = PROFILE) -> Passes:
    mask = unusable(image)
    background, pixels = subtract_background(SepEngine(), image.data, mask, profile, profile.dither * quantum(image))
    rms = background.noise()
    _, segments, _ = detect(pixels, mask, rms, profile, segments=True)
    assert segments is not None
    sky = remaining_sky(pixels, segments, mask, rms, profile.mesh, profile.mesh_filter, profile.background_growth)
    return Passes(pixels, sky, (segments > 0) | mask, pixel_noise(image, pixels, rms), image.pixel_scale)


def pulls(frame: Passes, pixels: Image) -> list[Floats]:
    """Flux over error of up to 1,000 circles of each of the profile's radii; the largest holds no source's pixel."""
    radii = np.array(PROFILE.apertures) / frame.scale
    random = np.random.default_rng(94)
    x, y = random.uniform(20, 2027, 20_000), random.uniform(20, 1468, 20_000)
    inside, _, _ = sep.sum_circle(frame.taken.astype(np.float32), x, y, radii[-1] + 2)
    free = np.flatnonzero(inside == 0)[:1000]
    measured = [sep.sum_circle(pixels, x[free], y[free], radius, err=frame.noise) for radius in radii]
    return [flux / error for flux, error, _ in measured]


def width(values: Floats) -> float:
    """1.4826 median distances from the median."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def main(root: Path) -> None:
    """Print the table."""
    radii = " | ".join(f'{one}"' for one in PROFILE.apertures)
    print(f'| frame | circles | one pass: 3" | one pass: 7.43" | {radii} |\n{"|---" * 10}|')
    for text in COUNTS:
        frame = passes(full_frame(root, text))
        one, two = pulls(frame, frame.first), pulls(frame, frame.first - frame.sky)
        cells = [f"{values.mean():+.2f} ± {width(values):.2f}" for values in (one[3], one[5], *two)]
        print(f"| {text} | {len(one[0])} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

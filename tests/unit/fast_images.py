"""Synthetic images for the fast engine's tests: stars, galaxies, blends, edges, masks, noise; and SEP's answer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sep

from kira.extraction import Profile


@dataclass(frozen=True)
class Drawn:
    """A synthetic image without background, its noise and its mask."""

    pixels: npt.NDArray[np.float32]
    noise: float | npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_] | None


def drawn(seed: int) -> Drawn:
    """Draw an image: every second one crowded, every third with its own noise for each pixel, every fourth masked."""
    random = np.random.default_rng(seed)
    rows, columns = random.integers(30, 110, size=2)
    y, x = np.indices((rows, columns), dtype=np.float64)
    image = np.zeros((rows, columns))
    for _ in range(random.integers(1, rows * columns // (60 if seed % 2 else 300))):
        # Some are cut by the edge.
        dx, dy = x - random.uniform(-2, columns + 2), y - random.uniform(-2, rows + 2)
        width, ratio, angle = random.uniform(0.8, 3.0), random.uniform(0.3, 1.0), random.uniform(0, np.pi)
        along, across = dx * np.cos(angle) + dy * np.sin(angle), (dy * np.cos(angle) - dx * np.sin(angle)) / ratio
        radius = np.hypot(along, across) / width
        profile = np.exp(-(radius**2) / 2) if random.random() < 0.6 else np.exp(-radius)
        image += 10 ** random.uniform(0.3, 3.5) * profile
    image = np.minimum(image, 2000.0)  # saturated stars are plateaus
    noise: float | npt.NDArray[np.float32] = 1.0
    if seed % 3 == 0:
        noise = (0.3 + 3 * random.random((rows, columns)) ** 3).astype(np.float32)
    image += noise * random.normal(size=image.shape)
    if seed % 5 == 0:
        image = np.rint(image)
    mask = random.random(image.shape) < 0.02 if seed % 4 == 0 else None
    if mask is not None:
        mask[rows // 2 : rows // 2 + 9, columns // 3 : columns // 3 + 9] = True
        mask[:2] = False  # SEP does not heed it there
    return Drawn(image.astype(np.float32), noise, mask)


def sep_extract(image: Drawn, profile: Profile) -> Any:
    """SEP's detections and segments, with as much room as the image may need: SEP takes it all at once."""
    sep.set_extract_pixstack(min(image.pixels.size + 2, 1_000_000))
    return sep.extract(
        image.pixels,
        profile.threshold,
        err=image.noise,
        mask=image.mask,
        minarea=profile.minarea,
        filter_kernel=np.array(profile.kernel),
        filter_type="conv",
        deblend_nthresh=profile.deblend_levels,
        deblend_cont=profile.deblend_contrast,
        clean=profile.clean > 0,
        clean_param=profile.clean or 1.0,
        segmentation_map=True,
    )

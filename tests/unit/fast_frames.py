"""Small synthetic frames for the two engines to be compared on: stars, galaxies, blends, edges, masks, odd numbers.

None has a masked pixel in its first rows: SEP heeds no mask there (test_fast_detection.py has the evidence).
"""

from dataclasses import replace
from functools import cache

import numpy as np
from images import sources, tan_wcs

from kira.frames import Frame

SHAPE = (120, 170)


@cache
def synthetic(number: int) -> Frame:
    """One of any number of frames, always the same for the same number: rms 1 to 4 around a sky of 0 to 200."""
    rng = np.random.default_rng(number)
    rows, columns = SHAPE
    n = int(rng.integers(0, 25))
    x, y = rng.uniform(-3, columns + 3, n), rng.uniform(-3, rows + 3, n)
    flux, sigma = 10 ** rng.uniform(1.5, 4.8, n), rng.choice([1.1, 1.5, 2.5, 6.0], n)
    pairs = rng.random(n) < 0.4
    near = np.column_stack([x, y, flux / 2, sigma])[pairs] + [2.5, 1.5, 0, 0]
    light = sources([*np.column_stack([x, y, flux, sigma]), *near], SHAPE)
    data = rng.normal(rng.uniform(0, 200), rng.uniform(1, 4), SHAPE) + light
    if number % 3 == 0:
        data = np.rint(data)
    if number % 5 == 0:
        odd = rng.random(SHAPE) < 0.002
        odd[:2] = False
        data[odd] = rng.choice([np.nan, np.inf, -np.inf, 1e20])
    mask = saturated = None
    if number % 2:
        mask = rng.random(SHAPE) < 0.003
        for at in rng.integers(0, 100, 3):
            mask[at : at + int(rng.integers(2, 15)), at : at + 9] = True
        mask[:2] = False
        saturated = light > 300
    frame = Frame(None, data.astype(np.float32), tan_wcs(), mask=mask, saturated=saturated)
    if number % 4 == 1:
        return replace(frame, noise_source="table", gain=4.0, dark_variance=1.2, softbias=-50.0)
    return replace(frame, gain=3.0) if number % 4 == 2 else frame


def odd() -> list[Frame]:
    """Frames that nobody would take: one pixel, a few lines, one value, light everywhere, a mask over nearly all."""
    rng = np.random.default_rng(1)
    noise = rng.normal(10, 1, SHAPE).astype(np.float32)
    light = (noise + sources([(60, 60, 1e6, 40.0)], SHAPE)).astype(np.float32)
    spiked = noise.copy()
    spiked[::7, ::5] = 1e14
    hidden = np.ones(SHAPE, dtype=bool)
    hidden[40:80, 40:110] = hidden[:2] = False
    over = np.zeros(SHAPE, dtype=bool)
    over[55:65, 50:70] = True
    star = (noise + sources([(60, 60, 5000)], SHAPE)).astype(np.float32)
    images = [np.ones((1, 1)), rng.normal(5, 1, (1, 40)), rng.normal(5, 1, (40, 1)), rng.normal(5, 1, (3, 900))]
    images += [np.full(SHAPE, 7.0), noise, light, spiked, np.full(SHAPE, np.nan), -light]
    frames = [Frame(None, one.astype(np.float32), tan_wcs()) for one in images]
    return [*frames, Frame(None, star, tan_wcs(), mask=hidden), Frame(None, star, tan_wcs(), mask=over)]

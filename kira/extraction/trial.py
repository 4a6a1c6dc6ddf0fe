"""Small synthetic frames for a first extraction, with which all that it needs is loaded or compiled."""

from dataclasses import replace

import numpy as np

from kira.frames import Frame

_SHAPE = (150, 180)


def frames() -> list[Frame]:
    """Synthetic frames: plain ones, one with a mask, one of a calibrated kind with a gain, a blend in each."""
    rng = np.random.default_rng(1)
    y, x = np.indices(_SHAPE)
    data = rng.normal(100, 2, _SHAPE)
    for column in range(20, 170, 12):
        for row in (30, 75, 78, 120):
            data += 400 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 4)
    plain = Frame(None, data.astype(np.float32), None)
    mask = np.zeros(_SHAPE, dtype=bool)
    mask[28:33, 15:24] = True
    return [
        plain, Frame(None, np.rint(data).astype(np.float32), None, mask=mask, saturated=mask),
        replace(plain, gain=4.0, mask=mask), replace(plain, gain=4.0, noise_source="table", dark_variance=1.0),
    ]  # fmt: skip

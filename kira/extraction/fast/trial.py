"""One small extraction of each sort: after it all kernels are compiled, for all that they are called with."""

from dataclasses import replace

import numpy as np

from kira.extraction.parameters import Parameters
from kira.extraction.survey_profile import SurveyProfile
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


def run_all() -> None:
    """Extract them all by both kinds of profile."""
    from kira.extraction.sources import extract

    survey = SurveyProfile(engine="fast")
    for frame in frames():
        for profile in (
            Parameters(engine="fast"), survey,
            replace(survey, detection_noise="global", background="mode", dither=0.0, aperture_subpix=0, kron_subpix=5),
        ):  # fmt: skip
            extract(frame, profile)

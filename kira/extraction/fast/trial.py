"""One small extraction of each sort: after it all kernels are compiled, for all that they are called with."""

from dataclasses import replace

from kira.extraction.parameters import Parameters
from kira.extraction.survey_profile import SurveyProfile
from kira.extraction.trial import frames


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

"""What counts as in range."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kira.sdss import Band, Service


@dataclass(frozen=True)
class Ranges:
    """Closed ranges of a frame's global background and rms, in the unit of its pixels."""

    background: tuple[float, float]
    rms: tuple[float, float]


def _default_ranges() -> Mapping[tuple[Service, Band], Ranges]:
    """Ranges with generous room around what real frames show.

    Counts (fpC): background is the soft bias of 1000 plus the sky, measured 24 (u) to 390 (r); rms 5.1 to 9.1.
    Nanomaggies (frame): the sky is subtracted, measured -0.0015 (u) to 0.0098 (r, the globular cluster M2); rms
    u 0.042, g 0.022, r 0.031, i 0.056, z 0.21. All in frames of runs 94, 2583, 4192 and 5754.
    """
    counts = Service.DAS
    nanomaggies = Service.SAS
    return {
        (counts, "u"): Ranges((1000.0, 1500.0), (2.0, 25.0)),
        (counts, "g"): Ranges((1000.0, 2500.0), (2.0, 40.0)),
        (counts, "r"): Ranges((1000.0, 4000.0), (2.0, 50.0)),
        (counts, "i"): Ranges((1000.0, 4000.0), (2.0, 50.0)),
        (counts, "z"): Ranges((1000.0, 4000.0), (2.0, 50.0)),
        (nanomaggies, "u"): Ranges((-0.5, 0.5), (0.010, 0.4)),
        (nanomaggies, "g"): Ranges((-0.5, 0.5), (0.005, 0.3)),
        (nanomaggies, "r"): Ranges((-0.5, 0.5), (0.007, 0.3)),
        (nanomaggies, "i"): Ranges((-1.0, 1.0), (0.012, 0.6)),
        (nanomaggies, "z"): Ranges((-3.0, 3.0), (0.050, 2.0)),
    }


@dataclass(frozen=True)
class Thresholds:
    """All limits of validation.

    Parameters
    ----------
    max_not_finite : float
        Largest fraction of rows of a batch in which a flux or Kron radius may be not finite.
    max_out_of_range : float
        Fraction of frames whose background or rms may be out of range with no more than a warning.
    ranges : mapping of (Service, band) to Ranges
    """

    max_not_finite: float = 0.01
    max_out_of_range: float = 0.02
    ranges: Mapping[tuple[Service, Band], Ranges] = field(default_factory=_default_ranges)

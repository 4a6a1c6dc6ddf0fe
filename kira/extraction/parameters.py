"""The profile of kind `kira`: the numbers of the published Kira."""

from dataclasses import dataclass
from typing import ClassVar

from kira.extraction.profile import Profile


@dataclass(frozen=True)
class Parameters(Profile):
    """The profile `kira`: what Zhang et al. (2015, 2016) measured, with their numbers as defaults.

    The threshold is in units of the global rms, no pixel is masked but those without a value, and errors are of the
    background's noise alone.

    Parameters
    ----------
    circle_radius : float
        Radius of the circular aperture, pixels.
    circle_subpix : int
        The circle's edge pixels are divided into this many squared; SEP's default, which Kira used.
    kron_range : float
        Ellipse within which the Kron radius is measured, in units of `a` and `b`.
    kron_factor : float
        Elliptical aperture, in units of the Kron radius.
    ellipse_subpix : int
        As `circle_subpix`, for the ellipse.
    """

    kind: ClassVar[str] = "kira"

    name: str = "kira"
    circle_radius: float = 5.0
    circle_subpix: int = 5
    kron_range: float = 6.0
    kron_factor: float = 2.5
    ellipse_subpix: int = 1

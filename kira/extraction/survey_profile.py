"""The profile of kind `survey`: measurements with errors, for a catalogue that people work with."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from kira.errors import InvalidInput
from kira.extraction.profile import Profile
from kira.sdss.beside import Kind

_MOST_APERTURES = 20


@dataclass(frozen=True)
class SurveyProfile(Profile):
    """The profile `survey`: SExtractor's measurements, with masks, flags, and errors from the noise of every pixel.

    Parameters
    ----------
    dither : float
        Width of the uniform noise that is added to a copy of the pixels before the background is estimated, in steps of
        the frame's numbers (1 DN); 0 adds none, as SExtractor. Without it the background of SDSS's frames is up to 0.15
        of its rms off: its estimate is 2.5 medians minus 1.5 means, and the median of whole numbers is one of them.
    background : {"mean", "mode"}
        What is subtracted before sources are measured. `mode`: 2.5 medians minus 1.5 means of the mesh's cells, as SEP
        and SExtractor have it, by which sources are also detected. `mean`: then also the mean of what is left where no
        source was found, so that circles at empty places are 0 on average.
    background_growth : int
        For `mean`: pixels around the sources' own that do not count as empty.
    detection_noise : {"map", "global"}
        What the threshold is relative to: the background's rms at each pixel, or its one global rms as in SExtractor
        without a weight map.
    apertures : tuple of float
        Radii of the circular apertures, arcsec, increasing. SDSS calibrates with 7.43.
    aperture_centre : {"windowed", "barycentre"}
        Position at which the circular apertures are centred; SExtractor takes the barycentre.
    aperture_subpix : int
        A circle's edge pixels are divided into this many squared, 5 as in SExtractor; 0 is the exact overlap.
    star_aperture : float
        Radius of the circle, arcsec, from which `flux_star` is: the flux if a source is a point.
    star_reference : float
        Radius, arcsec, of the circle to which `flux_star` is corrected by the frame's own stars; larger than the other.
        SDSS calibrates with 7.43.
    kron_range : float
        Ellipse within which the Kron radius is measured, in units of `a` and `b`; SExtractor's is 6.
    kron_factor : float
        AUTO ellipse in units of the Kron radius: the first of SExtractor's PHOT_AUTOPARAMS.
    kron_minimum : float
        Least AUTO ellipse, in units of `a` and `b`: the second of PHOT_AUTOPARAMS. 0: none.
    kron_subpix : int
        As `aperture_subpix` for the AUTO ellipse, but not 0; 1 takes whole pixels, as SExtractor does.
    """

    kind: ClassVar[str] = "survey"
    beside: ClassVar[tuple[Kind, ...]] = tuple(Kind)

    name: str = "survey"
    dither: float = 1.0
    background: str = "mean"
    background_growth: int = 8
    detection_noise: str = "map"
    apertures: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 5.0, 7.43)
    aperture_centre: str = "windowed"
    aperture_subpix: int = 5
    star_aperture: float = 2.0
    star_reference: float = 7.43
    kron_range: float = 6.0
    kron_factor: float = 2.5
    kron_minimum: float = 3.5
    kron_subpix: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("background", self.background, ("mean", "mode"))
        _one_of("detection_noise", self.detection_noise, ("map", "global"))
        _one_of("aperture_centre", self.aperture_centre, ("windowed", "barycentre"))
        object.__setattr__(self, "apertures", _radii(self.apertures))
        if self.star_aperture >= self.star_reference:
            raise InvalidInput(
                f"star_aperture: {self.star_aperture:g} is not below star_reference, {self.star_reference:g}."
            )


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidInput(f"{name}: {value!r} is not {' or '.join(choices)}.")


def _radii(values: Any) -> tuple[float, ...]:
    # No text: its letters would be taken for radii one by one.
    numbers = list(values) if isinstance(values, Iterable) and not isinstance(values, str | bytes | dict) else []
    if not numbers or any(isinstance(one, bool) or not isinstance(one, int | float) for one in numbers):
        raise InvalidInput(f"apertures: {values!r} is not a list of numbers.")
    radii = tuple(float(one) for one in numbers)
    if not (radii[0] > 0 and radii[-1] < float("inf") and all(one < other for one, other in pairwise(radii))):
        raise InvalidInput(f"apertures: {values!r} are not increasing radii above 0.")
    if len(radii) > _MOST_APERTURES:
        raise InvalidInput(f"apertures: {len(radii)} are more than {_MOST_APERTURES}.")
    return radii

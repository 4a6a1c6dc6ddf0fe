"""Patches of sky: a cone or a box, typed as a text. Which fields touch one is told in `kira.sdss.positions`."""

import re
from dataclasses import dataclass
from typing import Literal

from kira.errors import InvalidInput
from kira.sdss.quoting import quoted

SKY_PATTERN = r"^\s*(cone(\s+[+-]?\d{1,3}(\.\d{1,12})?){3}|box(\s+[+-]?\d{1,3}(\.\d{1,12})?){4})?\s*$"
"""The form of what `SkyRegion.parse` takes, as a JSON schema pattern for the trigger form; empty means all."""

_FORM = "write 'cone RA DEC RADIUS' or 'box RA_FROM RA_TO DEC_FROM DEC_TO' in degrees, such as 'cone 10.5 -0.3 1'"
_SIZES = {"cone": 3, "box": 4}


@dataclass(frozen=True)
class SkyRegion:
    """A cone or a box on the sky.

    A field belongs to it if its footprint, 2048 x 1489 pixels of 0.396 arcsec, can touch it. How the footprint is
    turned is not looked at: what counts is whether the circle round it touches, so a field may belong whose corner
    only comes near, and none that overlaps is left out.

    Parameters
    ----------
    kind : {"cone", "box"}
    numbers : tuple of float
        In degrees (ICRS). Cone: right ascension and declination of its axis, radius. Box: right ascension from and to
        (through 0 where it begins after it ends), declination from and to.

    Raises
    ------
    InvalidInput
        If a number is outside its range, or the region has no extent.
    """

    kind: Literal["cone", "box"]
    numbers: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.numbers) != _SIZES.get(self.kind):
            raise InvalidInput(f"{self.kind!r} with {len(self.numbers)} numbers is not a patch of sky; {_FORM}.")
        ra, dec = (self.numbers[:1], self.numbers[1:2]) if self.kind == "cone" else (self.numbers[:2], self.numbers[2:])
        if not all(0 <= a <= 360 for a in ra):
            raise InvalidInput(f"sky: {self}: a right ascension is from 0 to 360 degrees.")
        if not all(-90 <= d <= 90 for d in dec):
            raise InvalidInput(f"sky: {self}: a declination is from -90 to 90 degrees.")
        if self.kind == "cone" and not 0 < self.numbers[2] <= 180:
            raise InvalidInput(f"sky: {self}: the radius of a cone is above 0 and at most 180 degrees.")
        if self.kind == "box" and (ra[0] == ra[1] or dec[0] >= dec[1]):
            raise InvalidInput(f"sky: {self}: a box ends at another right ascension and a higher declination.")

    @classmethod
    def parse(cls, text: str) -> "SkyRegion":
        """Read `cone 10.5 -0.3 1.0` or `box 350 10 -1 1`."""
        text = text.strip()  # as in Numbers.parse
        if not (text and re.fullmatch(SKY_PATTERN, text, re.ASCII)):
            raise InvalidInput(f"sky: {quoted(text)} is not a patch of sky; {_FORM}.")
        kind, *numbers = text.split()
        return cls("cone" if kind == "cone" else "box", tuple(map(float, numbers)))

    def __str__(self) -> str:
        return " ".join((self.kind, *(f"{n + 0.0:.12f}".rstrip("0").rstrip(".") for n in self.numbers)))

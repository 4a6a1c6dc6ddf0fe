"""SDSS data releases: which archive each is in, where its files lie, and what they look like."""

import re
from dataclasses import dataclass
from enum import StrEnum

from kira.errors import InvalidInput

FIRST, LAST = 1, 18
_LAST_IN_DAS = 7


class Service(StrEnum):
    """The two archives of SDSS; the value is also the first folder of a mirrored path."""

    DAS = "das"
    """Data Archive Server: DR1 to DR7, `fpC` frames, one HDU of counts."""
    SAS = "sas"
    """Science Archive Server: DR8 and later, calibrated, sky-subtracted `frame` files of four HDUs."""


@dataclass(frozen=True, order=True)
class Release:
    """One SDSS data release.

    Parameters
    ----------
    number : int
        1 to 18.

    Raises
    ------
    InvalidInput
        If there is no such release.
    """

    number: int

    def __post_init__(self) -> None:
        if not FIRST <= self.number <= LAST:
            raise InvalidInput(f"There is no SDSS data release {self.number}; use dr{FIRST} to dr{LAST}.")

    @classmethod
    def parse(cls, text: str) -> "Release":
        """Read `dr12`, `DR12` or `12`."""
        match = re.fullmatch(r"(?:dr)?(\d{1,2})", text.strip(), re.IGNORECASE | re.ASCII)
        if not match:
            raise InvalidInput(f"{text!r} is not an SDSS data release; write dr{FIRST} to dr{LAST}.")
        return cls(int(match[1]))

    def __str__(self) -> str:
        return f"dr{self.number}"

    @property
    def service(self) -> Service:
        """The archive that holds this release."""
        return Service.DAS if self.number <= _LAST_IN_DAS else Service.SAS

    @property
    def root(self) -> str:
        """Folder of the imaging data below the archive's base URL, e.g. `imaging` or `dr12/boss`.

        SAS renamed it twice: `boss` for DR8 to DR12, `eboss` for DR13 to DR17, `prior-surveys/sdss4-dr17-eboss`
        from DR18 on.
        """
        if self.service is Service.DAS:
            return "imaging"
        if self.number <= 12:
            return f"{self}/boss"
        if self.number <= 17:
            return f"{self}/eboss"
        return f"{self}/prior-surveys/sdss4-dr17-eboss"

    @property
    def reruns(self) -> tuple[int, ...]:
        """Reruns (reductions) whose frames belong to this release."""
        return (40, 41, 42, 44) if self.service is Service.DAS else (301,)

    @property
    def frames_root(self) -> str:
        """Folder below the archive's base URL under which the tree of frames begins."""
        return self.root if self.service is Service.DAS else f"{self.root}/photoObj/frames"


ALL_RELEASES = tuple(Release(n) for n in range(FIRST, LAST + 1))

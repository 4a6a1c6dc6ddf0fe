"""SDSS data releases: which archive each is in, where its files lie, and what they look like."""

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from kira.errors import InvalidInput
from kira.sdss.quoting import quoted

FIRST, LAST = 1, 18
_LAST_IN_DAS = 7
_LAST_FIRST_RESOLVE = 12  # DR13 decided anew which field is primary where

# The days on which the releases were made public, as SDSS announced them. Of DR4 to DR7 the releases' papers and pages
# name the month, and the day is that of the announcement as it is usually quoted; DR18's is that of its paper on arXiv
# (2301.07688). A day tells a release apart from the others, in a backfill, so no two are the same: DR11 and DR12 were
# published together in January 2015 (arXiv:1501.00963), and DR11 stands a day before.
_RELEASED = {
    1: date(2003, 6, 4), 2: date(2004, 3, 15), 3: date(2004, 9, 27), 4: date(2005, 7, 2), 5: date(2006, 6, 30),
    6: date(2007, 6, 28), 7: date(2008, 10, 31), 8: date(2011, 1, 11), 9: date(2012, 7, 31), 10: date(2013, 7, 31),
    11: date(2015, 1, 5), 12: date(2015, 1, 6), 13: date(2016, 7, 31), 14: date(2017, 7, 31), 15: date(2018, 12, 10),
    16: date(2019, 12, 9), 17: date(2021, 12, 6), 18: date(2023, 1, 18),
}  # fmt: skip


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
            raise InvalidInput(f"{quoted(text)} is not an SDSS data release; write dr{FIRST} to dr{LAST}.")
        return cls(int(match[1]))

    @classmethod
    def of_date(cls, day: date) -> "Release":
        """Release that was made public on a day.

        Raises
        ------
        InvalidInput
            If none was; the sentence names the nearest.
        """
        number = min(_RELEASED, key=lambda n: abs(_RELEASED[n] - day))
        if _RELEASED[number] != day:
            raise InvalidInput(
                f"No SDSS data release is dated {day}; the nearest is dr{number}, made public on {_RELEASED[number]}."
            )
        return cls(number)

    def __str__(self) -> str:
        return f"dr{self.number}"

    @property
    def date(self) -> date:
        """The day on which it was made public."""
        return _RELEASED[self.number]

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

    @property
    def field_list(self) -> str | None:
        """Path of the list of all fields with their positions below the archive's base URL; DAS has none.

        SDSS's own pages link to those of DR10 and DR17. DR8, DR9, DR11 and DR12 share DR10's photometry, and DR13 to
        DR16 that of DR17, with the same list; where DR18 keeps it follows from where it keeps all that is DR17's.
        """
        if self.service is Service.DAS:
            return None
        resolved = "2010-05-23" if self.number <= _LAST_FIRST_RESOLVE else "2013-07-29"
        return f"{self.root}/resolve/{resolved}/window_flist.fits"


ALL_RELEASES = tuple(Release(n) for n in range(FIRST, LAST + 1))

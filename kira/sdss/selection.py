"""What somebody asks for: a release and runs, camcols, fields and bands, as typed into a form or a command."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kira.errors import InvalidInput
from kira.sdss.identifiers import BANDS, Band, FrameId
from kira.sdss.quoting import quoted
from kira.sdss.releases import Release
from kira.sdss.sky import SkyRegion

NUMBERS_PATTERN = r"^\s*(\d{1,6}(\s*-\s*\d{1,6})?(\s*,\s*\d{1,6}(\s*-\s*\d{1,6})?)*)?\s*$"
"""What `Numbers.parse` takes, as a JSON schema pattern for the trigger form."""


@dataclass(frozen=True)
class Numbers:
    """A set of whole numbers as closed ranges; empty means "all".

    Parameters
    ----------
    ranges : tuple of (int, int)
        Lowest and highest number of each range.
    """

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str | None, what: str = "numbers") -> "Numbers":
        """Read `94, 1000-1010`; an empty text means all."""
        # Stripped first: the pattern may try every way to share out a thousand spaces between its two ends.
        text = (text or "").strip()
        if not re.fullmatch(NUMBERS_PATTERN, text, re.ASCII):
            raise InvalidInput(f"{what}: {quoted(text)} is not a list of numbers and ranges such as '94, 1000-1010'.")
        ranges = []
        for part in filter(None, (p.strip() for p in text.split(","))):
            low, _, high = part.partition("-")
            pair = int(low), int(high or low)
            if pair[0] > pair[1]:
                raise InvalidInput(f"{what}: the range {quoted(part)} ends before it begins.")
            ranges.append(pair)
        return cls(tuple(ranges))

    def __contains__(self, number: int) -> bool:
        return not self.ranges or any(low <= number <= high for low, high in self.ranges)

    def __iter__(self) -> Iterator[int]:
        """Numbers asked for by name, ascending; none where all are meant."""
        return iter(sorted({n for low, high in self.ranges for n in range(low, high + 1)}))

    @property
    def everything(self) -> bool:
        """Whether all numbers are meant."""
        return not self.ranges

    def __str__(self) -> str:
        return ", ".join(f"{low}-{high}" if low != high else str(low) for low, high in self.ranges) or "all"


@dataclass(frozen=True)
class Selection:
    """Frames of one release, by run, camcol, field and band, and by where they are on the sky.

    Parameters
    ----------
    release : Release
    runs, camcols, fields : Numbers
        Empty means all.
    bands : tuple of str
        Some of u, g, r, i, z, in that order.
    sky : SkyRegion, optional
        Only fields that may touch it. `in` says nothing of it, as a frame's name does not tell where the frame is;
        `ArchiveClient.folders` does.
    """

    release: Release
    runs: Numbers = Numbers()
    camcols: Numbers = Numbers()
    fields: Numbers = Numbers()
    bands: tuple[Band, ...] = BANDS
    sky: SkyRegion | None = None

    @classmethod
    def parse(
        cls, release: str, runs: str | None = None, camcols: str | None = None, fields: str | None = None,
        bands: str | None = None, sky: str | None = None,
    ) -> "Selection":  # fmt: skip
        """Read the texts of a form or a command line.

        Raises
        ------
        InvalidInput
            With one sentence about the first text that is not of its form.
        """
        letters = re.sub(r"[\s,]+", "", bands or "") or "".join(BANDS)
        if not set(letters) <= set(BANDS):
            raise InvalidInput(f"bands: {quoted(bands or '')} is not some of the letters {' '.join(BANDS)}.")
        camcol_numbers = Numbers.parse(camcols, "camcols")
        if any(low < 1 or high > 6 for low, high in camcol_numbers.ranges):
            raise InvalidInput(f"camcols: {quoted(camcols or '')} has numbers outside 1 to 6.")
        field_numbers = Numbers.parse(fields, "fields")
        if any(high > 9999 for _, high in field_numbers.ranges):
            raise InvalidInput(f"fields: {quoted(fields or '')} has numbers beyond 9999.")
        return cls(
            Release.parse(release), Numbers.parse(runs, "runs"), camcol_numbers, field_numbers,
            tuple(b for b in BANDS if b in letters), SkyRegion.parse(sky) if sky and sky.strip() else None,
        )  # fmt: skip

    def __contains__(self, frame: FrameId) -> bool:
        return (
            frame.release == self.release
            and frame.run in self.runs
            and frame.camcol in self.camcols
            and frame.field in self.fields
            and frame.band in self.bands
        )

    @property
    def by_name(self) -> bool:
        """Whether runs and fields are asked for by number, so that a missing one can be told from one never asked."""
        return not (self.runs.everything or self.fields.everything)

    def __str__(self) -> str:
        return (f"{self.release}, runs {self.runs}, camcols {self.camcols}, fields {self.fields}, "
                f"bands {''.join(self.bands)}" + (f", {self.sky}" if self.sky else ""))  # fmt: skip

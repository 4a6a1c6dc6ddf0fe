"""What an ingestion would cost: frames, bytes and hours, asked of the archive and the ledger; nothing is written."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from kira.ledger import Ledger, Rate, Stage
from kira.ledger.status import catalogues, tallied
from kira.sdss import Release, Selection
from kira.sdss.archive import ArchiveClient

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4, "P": 1024**5}


@dataclass(frozen=True)
class Cost:
    """What one release of a selection would cost.

    Parameters
    ----------
    release : str
    frames : int
        Frames that the archive lists.
    published : int
        Of those, the ones that are in the catalogue already.
    size : int or None
        Bytes of the frames that are not; None if the archive does not say how large its files are.
    hours : float or None
        By the ledger's own rates, one batch after the other; None if it has none yet.
    rates_of : str
        The release that the rates are of.
    """

    release: str
    frames: int
    published: int
    size: int | None = None
    hours: float | None = None
    rates_of: str = ""

    @property
    def to_do(self) -> int:
        """Frames to be worked on."""
        return max(self.frames - self.published, 0)

    def sentence(self) -> str:
        """The same for a log."""
        size = "of unknown size" if self.size is None else f"{self.size / 1e9:,.1f} GB"
        hours = (
            "no rates yet to tell the hours from" if self.hours is None
            else f"about {self.hours:,.1f} hours by the rates of {self.rates_of}"
        )  # fmt: skip
        return (
            f"{self.release}: {self.frames:,} frames in the archive, {self.published:,} published already, "
            f"{self.to_do:,} to do: {size}, {hours}"
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"to_do": self.to_do}


def cost(
    ledger: Ledger, client: ArchiveClient, selection: Selection, profile: str,
    say: Callable[[str], None] = lambda _text: None,
) -> Cost:  # fmt: skip
    """Ask the archive folder by folder what a selection holds, and the ledger what of it is done and how long it takes.

    Parameters
    ----------
    ledger : Ledger
    client : ArchiveClient
    selection : Selection
    profile : str
        Slug of the extraction parameters.
    say : callable, optional
        Called with one line of progress now and then.

    Raises
    ------
    NotInArchive, ArchiveUnavailable
        If the archive does not have the release, or does not answer.
    """
    archive, release = client.archive.name, selection.release
    frames, known = 0, 0
    sizes: Counter[str] = Counter()
    for number, folder in enumerate(client.folders(selection), 1):
        frames += len(folder.listed)
        sizes.update(one.size for one in folder.listed if one.size)
        if number % 500 == 0:
            say(f"{release}: {frames:,} frames in {number:,} folders so far")
    known = sum(sizes.values())
    listed = sum(_bytes(text) * times for text, times in sizes.items())
    published = min(_published(ledger, archive, selection, profile), frames)
    to_do = frames - published
    rates, rates_of = _rates(ledger, archive, release)
    seconds = sum(rate.seconds / rate.frames for rate in rates.values()) * to_do
    return Cost(
        str(release), frames, published, round(listed / known * to_do) if known else None,
        seconds / 3600 if rates else None, rates_of,
    )  # fmt: skip


def _bytes(text: str) -> float:
    """Size as index pages write it: `2318745`, `2.2M`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:([KMGTP])i?B?|B|bytes)?", text.strip(), re.IGNORECASE | re.ASCII)
    return float(match[1]) * _UNITS[(match[2] or "").upper()] if match else 0.0


def _published(ledger: Ledger, archive: str, selection: Selection, profile: str) -> int:
    wanted = (archive, str(selection.release), profile)
    found = [one.id for one in catalogues(ledger) if (one.archive, one.release, one.profile) == wanted]
    return sum(row.frames for one in found for row in tallied(ledger, one, selection) if row.published)


def _rates(ledger: Ledger, archive: str, release: Release) -> tuple[dict[Stage, Rate], str]:
    """Rates of the release itself, or of the nearest that has the same kind of frames."""
    known = {one.release for one in catalogues(ledger) if one.archive == archive}
    alike = [r for r in map(Release.parse, known) if r.service is release.service]
    for near in sorted(alike, key=lambda r: abs(r.number - release.number)):
        rates = {stage: rate for stage, rate in ledger.rates(archive, str(near)).items() if rate.frames}
        if Stage.MIRROR in rates and Stage.EXTRACT in rates:
            return rates, str(near)
    return {}, ""

"""Frames that somebody looks for: by id, by run, camcol and field, or by a position on the sky."""

import re
from dataclasses import dataclass, replace

from kira.catalog.cone import Cone
from kira.catalog.published import Published
from kira.catalog.query import Query
from kira.errors import InvalidInput, KiraError
from kira.ledger.status import Known, catalogues
from kira.ledger.whereabouts import frames_of_field, whereabouts
from kira.pages.data import Data
from kira.sdss import BANDS, FrameId, Release
from kira.sdss.quoting import quoted
from kira.storage import StoredFile, catalogue_folder
from kira.storage.ranged import RangedFile
from kira.storage.store import Store

MOST_BATCHES = 60
"""Of a catalogue that is searched by position here: each has some files, of each of which the footer is read."""
_NEAR = 30 / 3600
"""Degrees around a position in which sources are looked for."""
_FIELD = re.compile(r"(?:(dr\d{1,2})\s+)?(\d{1,6})\s+([1-6])\s+(\d{1,4})(?:\s+([ugriz]))?", re.ASCII | re.IGNORECASE)
_FORM = "write a frame (dr12-301-000094-1-0012-r), run camcol field (94 1 12), or RA Dec (336.7 -0.84)"


@dataclass(frozen=True)
class Found:
    """A field, or a frame of it where one was asked for."""

    archive: str
    release: Release
    run: int
    camcol: int
    field: int
    frames: tuple[FrameId, ...]


def find(data: Data, text: str) -> tuple[list[Found], str]:
    """Look for what somebody typed.

    Parameters
    ----------
    data : Data
    text : str

    Returns
    -------
    list of Found
    str
        A sentence about what could not be looked at, or that there is nothing.

    Raises
    ------
    InvalidInput
        If the text is nothing that can be looked for.
    """
    words = text.strip()
    if len(words) > 200:
        raise InvalidInput(f"{quoted(words)} is too long; {_FORM}.")
    if words.lower().startswith("dr") and not re.search(r"\s", words):
        return _told(_frames(data, [FrameId.parse(words)]))
    if match := _FIELD.fullmatch(words):
        release, run, camcol, field, band = match.groups()
        releases = {Release.parse(release)} if release else {Release.parse(k.release) for k in catalogues(data.ledger)}
        found = []
        for one in sorted(releases):
            frames = frames_of_field(one, int(run), int(camcol), int(field))
            found += _frames(data, [f for f in frames if band is None or f.band == band.lower()])
        return _told(found)
    # Two numbers, or what `Cone.parse` reads: 22h26m54s -0d50m.
    ra, _, dec = words.replace(",", " ").partition(" ")
    if not dec.strip():
        raise InvalidInput(f"{quoted(words)} is nothing that can be looked for; {_FORM}.")
    return _near(data, replace(Cone.parse(ra, dec.strip(), "1"), radius=_NEAR))


def _told(found: list[Found]) -> tuple[list[Found], str]:
    return found, "" if found else "The ledger knows no such frame."


def _frames(data: Data, frames: list[FrameId]) -> list[Found]:
    by_field: dict[tuple[str, Release, int, int, int], dict[FrameId, None]] = {}
    for place in whereabouts(data.ledger, frames):
        f = place.frame
        by_field.setdefault((place.archive, f.release, f.run, f.camcol, f.field), {})[f] = None
    return [
        Found(*key, tuple(sorted(found, key=lambda frame: (frame.rerun, BANDS.index(frame.band)))))
        for key, found in by_field.items()
    ]


def _near(data: Data, cone: Cone) -> tuple[list[Found], str]:
    """Fields with published sources near a position, from the catalogues' footers and then their columns."""
    fields: set[tuple[str, Release, int, int, int]] = set()
    said = []
    for known in catalogues(data.ledger):
        try:
            fields |= _fields_near(data.store, known, cone)
        except KiraError as error:
            said.append(str(error))
    found = [one for key in sorted(fields) for one in _frames(data, frames_of_field(*key[1:])) if one.archive == key[0]]
    if not found and not said:
        said = [f"No catalogue has a source within {_NEAR * 3600:.0f} arcsec of {cone.ra:.5f} {cone.dec:+.5f}."]
    return found, " ".join(said)


def _fields_near(store: Store, known: Known, cone: Cone) -> set[tuple[str, Release, int, int, int]]:
    folder = catalogue_folder(known.archive, known.release, known.profile)
    batches = sum(entry.name.startswith("batch=") for entry in store.listing(folder))
    if not batches:
        return set()
    if batches > MOST_BATCHES:
        raise InvalidInput(
            f"Catalogue {known.archive} {known.release} {known.profile} has {batches:,} batches, too many to be "
            f"searched by position here: `kira query cone {cone.ra:g} {cone.dec:g} 30arcsec` does it."
        )
    release, names = Release.parse(known.release), ("run", "camcol", "field")
    found: set[tuple[str, Release, int, int, int]] = set()
    for table in Published(_Below(store, folder)).scan(Query(region=cone), names):
        columns = (table[name].to_pylist() for name in names)
        found |= {(known.archive, release, *place) for place in zip(*columns, strict=True)}
    return found


class _Below:
    """A folder of the staging store, to be read as a catalogue."""

    def __init__(self, store: Store, folder: str) -> None:
        self.url = store.uri(folder)
        self._store, self._folder = store, folder

    def uri(self, path: str) -> str:
        return self._store.uri(f"{self._folder}/{path}")

    def top(self) -> list[StoredFile]:
        return self._store.listing(self._folder)

    def listing(self, path: str) -> list[StoredFile]:
        return self._store.listing(f"{self._folder}/{path}")

    def open(self, path: str) -> RangedFile:
        return self._store.open(f"{self._folder}/{path}")

"""What the page of the sky draws, in memory: a position and a state for every field, as short as they can be.

938,046 fields take 6 MB for where they are and 11 MB a catalogue for what became of them. The ledger is read in a
thread, the first time whole and then only the runs that its tallies say have changed.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from kira.errors import InvalidInput, KiraError
from kira.ledger import Ledger
from kira.ledger.fields import Mark, field_states, marks
from kira.sdss import BANDS
from kira.stages.positions import Positions, field_keys, positions_path, read_positions
from kira.storage import Store

CHUNK = 250_000
"""Fields in one answer: positions of 1.5 MB."""
LOOK_SECONDS = 10.0
"""The ledger is asked what has changed after so long, however many people look."""
STORE_SECONDS, READ_SECONDS = 30.0, 600.0
"""So often the file of positions is looked at, and read whatever it looks like."""
PATIENCE = 0.5
"""Seconds that an answer waits for a look at the ledger: a small survey is there at once."""
_MOST_MAPS = 4
_RUNS_AT_ONCE = 8
_TURN = 1 << 24

Key = tuple[int, int, int]


@dataclass(frozen=True)
class Segment:
    """Fields of one camera column of a run that follow each other."""

    run: int
    camcol: int
    first_field: int
    count: int


class Places:
    """Where the fields of an archive are, ready to be sent and searched.

    Parameters
    ----------
    positions : Positions
    """

    def __init__(self, positions: Positions) -> None:
        self.positions = positions
        self.version = positions.version
        self.key = field_keys(positions.run, positions.camcol, positions.field)

    def __len__(self) -> int:
        return len(self.key)

    @cached_property
    def segments(self) -> list[Segment]:
        """All fields in their order, by runs of consecutive numbers."""
        begins = np.flatnonzero(np.diff(self.key, prepend=-2) != 1)
        counts = np.diff(np.append(begins, len(self)))
        p = self.positions
        columns = (p.run[begins].tolist(), p.camcol[begins].tolist(), p.field[begins].tolist(), counts.tolist())
        return [Segment(*row) for row in zip(*columns, strict=True)]

    def packed(self, chunk: int) -> bytes:
        """Positions of a chunk: first all right ascensions, then all declinations.

        Each as the upper 16 bits of all fields (little-endian), then the lower 8 of all, of 2**24ths of a turn: right
        ascension from 0, declination from -90 degrees. 0.08 arcsec, in six bytes a field.
        """
        part = _part(chunk)
        return b"".join(
            _in_24_bits(np.asarray(degrees[part], dtype=np.float64))
            for degrees in (self.positions.ra % 360, self.positions.dec + 90)
        )

    def near(self, ra: float, dec: float, radius: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Fields whose centres are within a radius of a position, the nearest first, and their distances.

        Parameters
        ----------
        ra, dec, radius : float
            Degrees.

        Returns
        -------
        numpy.ndarray of int64, numpy.ndarray of float64
            Indices, and degrees.
        """
        p = self.positions
        band = np.flatnonzero(np.abs(p.dec - dec) <= radius)
        here, there = np.radians(p.dec[band].astype(np.float64)), math.radians(dec)
        apart = np.radians(p.ra[band].astype(np.float64) - ra)
        # Haversines: exact for what is near.
        half = np.sin((here - there) / 2) ** 2 + np.cos(here) * math.cos(there) * np.sin(apart / 2) ** 2
        distance = np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0, 1))))
        inside = np.flatnonzero(distance <= radius)
        order = inside[np.argsort(distance[inside], kind="stable")]
        return band[order], distance[order]

    def index(self, run: int, camcol: int, field: int) -> int | None:
        """Index of a field; None if its position is not known."""
        key = field_keys(np.array([run]), np.array([camcol]), np.array([field]))
        place = int(np.searchsorted(self.key, key)[0])
        return place if place < len(self) and self.key[place] == key[0] else None


class SkyMap:
    """What became of the fields of one catalogue.

    Parameters
    ----------
    places : Places
    ledger : Ledger
    catalogue : int

    Attributes
    ----------
    states : numpy.ndarray of uint16, shape (n,)
        See `kira.ledger.fields.FieldStates`; in the order of the positions.
    sources : numpy.ndarray of uint16, shape (n, 5)
    stamps : list of int
        Of each chunk, a checksum: the same in all processes of a server that show the same.
    read, to_read : int
        Runs, in the look at the ledger that is under way or was last.
    whole : bool
        Whether all of the ledger was read once.
    error : str
        Why the last look failed; empty if it did not.
    """

    def __init__(self, places: Places, ledger: Ledger, catalogue: int) -> None:
        self.places, self._ledger, self._catalogue = places, ledger, catalogue
        self.states = np.zeros(len(places), dtype=np.uint16)
        self.sources = np.zeros((len(places), 5), dtype=np.uint16)
        self.stamps = [0] * max(1, -(-len(places) // CHUNK))
        self.read, self.to_read, self.whole, self.error = 0, 0, False, ""
        self._marks: dict[int, Mark] = {}
        self._astray: dict[int, int] = {}
        self._lock, self._done = Lock(), Event()
        self._thread: Thread | None = None
        self._looked = -math.inf

    @property
    def unplaced(self) -> int:
        """Fields in the ledger whose position is not known, and which no map shows."""
        return sum(self._astray.copy().values())

    def states_of(self, chunk: int) -> bytes:
        """States of a chunk, 16 bits each, little-endian."""
        return _in_16_bits(self.states[_part(chunk)])

    def sources_of(self, chunk: int, band: str) -> bytes:
        """Sources of a chunk in a band or in `all`, 16 bits each, little-endian; 65535 is that and more."""
        part = self.sources[_part(chunk)]
        return _in_16_bits(part.sum(axis=1, dtype=np.int64) if band == "all" else part[:, BANDS.index(band)])

    def look(self, patience: float = PATIENCE) -> None:
        """See to it that the ledger was looked at not long ago; waits no longer than that for it."""
        with self._lock:
            at_work = self._thread is not None and self._thread.is_alive()
            if not at_work and monotonic() - self._looked > LOOK_SECONDS:
                self._done.clear()
                self._thread = Thread(target=self._look, name=f"sky-{self._catalogue}", daemon=True)
                self._thread.start()
        self._done.wait(patience)

    def _look(self) -> None:
        try:
            self.refresh()
            self.error = ""
        except KiraError as error:
            self.error = str(error)
        finally:
            self._looked = monotonic()
            self._done.set()

    def refresh(self) -> int:
        """Read what has changed; returns the number of runs that were read.

        Raises
        ------
        LedgerUnavailable
            If the database is away: what was known stays, and the rest is read the next time.
        """
        now = marks(self._ledger, self._catalogue)
        changed = [run for run in {**self._marks, **now} if self._marks.get(run) != now.get(run)]
        self.read, self.to_read = 0, len(changed)
        for begin in range(0, len(changed), _RUNS_AT_ONCE):
            runs = sorted(changed[begin : begin + _RUNS_AT_ONCE])
            self._take(runs)
            for run in runs:
                if run in now:
                    self._marks[run] = now[run]
                else:
                    self._marks.pop(run, None)
            self.read += len(runs)
        self.whole = True
        return len(changed)

    def _take(self, runs: list[int]) -> None:
        found = field_states(self._ledger, self._catalogue, runs)
        key = field_keys(found.run, found.camcol, found.field)
        place = np.searchsorted(self.places.key, key)
        known = place < len(self.places)
        known[known] = self.places.key[place[known]] == key[known]
        touched: set[int] = set()
        for run in runs:
            part = slice(*np.searchsorted(self.places.key, [run * 10**5, (run + 1) * 10**5]))
            rows = np.flatnonzero(found.run == run)
            here = rows[known[rows]]
            states, sources = np.zeros_like(self.states[part]), np.zeros_like(self.sources[part])
            states[place[here] - part.start] = found.states[here]
            sources[place[here] - part.start] = found.sources[here]
            # Whole, so that no answer in between shows a run as empty.
            self.states[part], self.sources[part] = states, sources
            self._astray[run] = len(rows) - len(here)
            if part.start < part.stop:
                touched.update(range(part.start // CHUNK, -(-part.stop // CHUNK)))
        for chunk in touched:
            self.stamps[chunk] = crc32(self.sources[_part(chunk)].tobytes(), crc32(self.states[_part(chunk)].tobytes()))


class Skies:
    """Maps of the catalogues that somebody looks at.

    Parameters
    ----------
    ledger : Ledger
    store : Store
    """

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger, self._store = ledger, store
        self._places: dict[str, _Kept] = {}
        self._maps: OrderedDict[int, SkyMap] = OrderedDict()
        self._lock = Lock()

    def places(self, archive: str) -> Places | None:
        """Where the fields of an archive are; None if that was never written."""
        with self._lock:
            kept = self._places.setdefault(archive, _Kept())
            now = monotonic()
            if now - kept.looked > STORE_SECONDS:
                size = self._store.size(positions_path(archive))
                if size != kept.size or now - kept.read > READ_SECONDS:
                    found = read_positions(self._store, archive)
                    if found is None or kept.places is None or found.version != kept.places.version:
                        kept.places = Places(found) if found is not None and len(found) else None
                    kept.size, kept.read = size, now
                kept.looked = now
            return kept.places

    def has(self, archive: str) -> bool:
        """Whether where the fields of an archive are was written; reads nothing, which takes seconds the first time."""
        kept = self._places.get(archive)
        return (kept is not None and kept.places is not None) or self._store.exists(positions_path(archive))

    def map(self, catalogue: int, archive: str) -> SkyMap | None:
        """Map of a catalogue; None if the positions of its archive are not known."""
        places = self.places(archive)
        if places is None:
            return None
        with self._lock:
            found = self._maps.pop(catalogue, None)
            if found is None or found.places is not places:
                found = SkyMap(places, self._ledger, catalogue)
            self._maps[catalogue] = found
            while len(self._maps) > _MOST_MAPS:
                self._maps.popitem(last=False)
        return found


@dataclass
class _Kept:
    places: Places | None = None
    size: int | None = None
    looked: float = -math.inf
    read: float = -math.inf


def check_chunk(chunk: int, stamps: list[int]) -> None:
    """Refuse the number of a chunk that there is not; InvalidInput."""
    if not 0 <= chunk < len(stamps):
        raise InvalidInput(f"The sky has {len(stamps)} parts, from 0 on; there is no part {chunk}.")


def _in_16_bits(values: NDArray[Any]) -> bytes:
    return bytes(np.minimum(values, 65535).astype("<u2").tobytes())


def _part(chunk: int) -> slice:
    return slice(chunk * CHUNK, (chunk + 1) * CHUNK)


def _in_24_bits(degrees: NDArray[np.float64]) -> bytes:
    numbers = np.round(degrees / 360 * _TURN).astype(np.int64) % _TURN
    return (numbers >> 8).astype("<u2").tobytes() + (numbers & 255).astype(np.uint8).tobytes()


def states_by_band(packed: int) -> Iterator[int]:
    """State in each of the five bands of a packed number."""
    return (packed >> 3 * band & 7 for band in range(5))

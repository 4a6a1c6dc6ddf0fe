"""Digests of a batch's rows, left beside them by validation: a run's record need not read the rows again.

They are of the files that were validated. A reader holds them against the sizes that the store lists, and whoever
writes a file anew removes them first: where they do not fit, or are not there, the files are read.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Self

import pyarrow as pa

from kira.catalog import read_parts
from kira.catalog.rows_digest import rows_by_frame, rows_sha256
from kira.storage import Store

ROWS = "_rows.json"


@dataclass(frozen=True)
class PartFile:
    """A Parquet file of a batch.

    Parameters
    ----------
    size : int
        Bytes.
    sha256 : str
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Of a file that is at hand."""
        return cls(len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class RowDigests:
    """What a batch's files hold.

    Parameters
    ----------
    parts : dict of str to PartFile
        Files by their names.
    frames : dict of str to str
        Digest of each frame's rows, see `kira.catalog.rows_digest`; of frames without a source there is none.
    """

    parts: dict[str, PartFile]
    frames: dict[str, str]

    def to_bytes(self) -> bytes:
        """As `ROWS` has it."""
        return json.dumps({"parts": {name: asdict(part) for name, part in self.parts.items()}, "frames": self.frames},
                          indent=0).encode()  # fmt: skip

    @classmethod
    def load(cls, store: Store, folder: str) -> Self | None:
        """Those of a folder; None where there are none, or the files are not those that they are of."""
        path = f"{folder}/{ROWS}"
        if not store.exists(path):
            return None
        try:
            found = json.loads(store.read(path))
            parts = {str(name): PartFile(**part) for name, part in found["parts"].items()}
            frames = {str(frame): str(digest) for frame, digest in found["frames"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        there = {file.name: file.size for file in store.listing(folder) if file.name.endswith(".parquet")}
        return cls(parts, frames) if {name: part.size for name, part in parts.items()} == there else None

    @classmethod
    def read(cls, store: Store, folder: str, names: Iterable[str]) -> Self:
        """By reading the files, one at a time.

        Raises
        ------
        StorageError
            If one is gone.
        """
        parts: dict[str, PartFile] = {}
        frames: dict[str, str] = {}
        for name in names:
            content = store.read(f"{folder}/{name}")
            parts[name] = PartFile.of(content)
            frames |= digests_of(read_parts([content]))
        return cls(parts, frames)


def digests_of(table: pa.Table) -> dict[str, str]:
    """Digest of the rows of each frame of a table in canonical order."""
    return {frame: rows_sha256(rows) for frame, rows in rows_by_frame(table)}


def noting(store: Store, folder: str, names: Iterable[str], parts: dict[str, PartFile]) -> Iterator[bytes]:
    """Contents of files of a folder, one at a time; what they are is noted in `parts` on the way."""
    for name in names:
        content = store.read(f"{folder}/{name}")
        parts[name] = PartFile.of(content)
        yield content


def updated(
    known: RowDigests, parts: Mapping[str, PartFile], gone: Iterable[str], frames: Mapping[str, str]
) -> RowDigests:
    """Digests after files were written anew, in which some frames have other rows, or none."""
    left_out = set(gone)
    kept = {frame: digest for frame, digest in known.frames.items() if frame not in left_out}
    return RowDigests(known.parts | dict(parts), kept | dict(frames))

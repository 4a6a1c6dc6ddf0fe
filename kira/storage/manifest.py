"""Manifests: the explicit list of frames of one batch, as a JSON-lines file.

The first line says which batch it is; every further line is one frame with what is known of it so far. Each stage
reads the manifest of the stage before and writes its own, so that what a stage was given stays on record.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from kira.errors import InvalidInput
from kira.sdss import FrameId
from kira.sdss.quoting import one_line
from kira.storage.store import Store

FORMAT = 1


@dataclass(frozen=True)
class Beside:
    """A file that lies beside a frame in the archive and tells more about it; the frame is good without it.

    Parameters
    ----------
    kind : str
        tsField, psField, fpM, photoObj or truth: see `kira.sdss.beside`.
    url : str
        Where the archive serves it.
    key : str
        S3 key in the mirror.
    staged : str
        Path of the plain file below the staging root; empty for a reference, which extraction does not read.
    size, plain_size : int, optional
        Bytes as downloaded and decompressed; known from the mirror stage on.
    sha256, plain_sha256 : str, optional
        SHA-256 of the same, hex.
    missing : str
        Why there is none: a sentence, found out by the mirror stage. Empty where there is one.
    """

    kind: str
    url: str
    key: str
    staged: str = ""
    size: int | None = None
    sha256: str | None = None
    plain_size: int | None = None
    plain_sha256: str | None = None
    missing: str = ""


@dataclass(frozen=True)
class Entry:
    """One frame of a manifest.

    Parameters
    ----------
    frame : FrameId
    url : str
        Where the archive serves it.
    key : str
        S3 key in the mirror.
    staged : str
        Path of the staged file below the staging root; see `kira.frames.staged`.
    size, plain_size : int, optional
        Bytes as downloaded and decompressed; known from the mirror stage on.
    sha256, plain_sha256 : str, optional
        SHA-256 of the same, hex.
    listed : str
        What the archive's listing said of the file when it was planned; see `kira.sdss.listing.Listed`.
    sha1 : str
        SHA-1 that the archive publishes of the file; empty if it does not.
    published : str, optional
        SHA-256 of the archive's file that the frame's rows in the catalogue were made from; None if it has none there.
    replaces : str, optional
        Batch by which these rows are in the catalogue: they are replaced.
    why : str
        Why it was planned; see `kira.ledger.ToDo`. Planned again for another reason, it is the same work.
    beside : tuple of Beside
        What its profile wants to know beside the frame.
    crowding : float, optional
        Part of its pixels that is bright, known from the stage stage on: what extraction will cost depends on it.
    staged_sha256 : str, optional
        SHA-256 of the staged file, hex, known from the stage stage on. It was taken of the very bytes that were found
        to unpack to `plain_sha256`.
    """

    frame: FrameId
    url: str
    key: str
    staged: str
    size: int | None = None
    sha256: str | None = None
    plain_size: int | None = None
    plain_sha256: str | None = None
    listed: str = ""
    sha1: str = ""
    published: str | None = None
    replaces: str | None = None
    why: str = field(default="", compare=False)
    beside: tuple[Beside, ...] = ()
    crowding: float | None = field(default=None, compare=False)
    staged_sha256: str | None = field(default=None, compare=False)

    def as_json(self) -> dict[str, Any]:
        """Fill a JSON object."""
        return asdict(self) | {"frame": str(self.frame)}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Entry":
        """Read a JSON object."""
        beside = tuple(Beside(**one) for one in row.get("beside", ()))
        return cls(**(row | {"frame": FrameId.parse(row["frame"]), "beside": beside}))


@dataclass(frozen=True)
class Manifest:
    """The frames of one batch after one stage.

    Parameters
    ----------
    batch : str
        Unique and the same whenever the same frames are planned for the same catalogue.
    archive : str
        Name of the archive.
    release : str
    profile : str
        Slug of the extraction parameters, which is part of the catalogue's path.
    stage : str
        The stage that wrote it.
    run : str
        The Airflow DAG run that planned it.
    entries : tuple of Entry
    """

    batch: str
    archive: str
    release: str
    profile: str
    stage: str
    run: str
    entries: tuple[Entry, ...]

    @property
    def folder(self) -> str:
        """Folder of the batch below the staging root."""
        return f"{self.archive}/batches/{self.batch}"

    @property
    def extracted(self) -> str:
        """Folder of the finished but unpublished result below the staging root."""
        return f"{self.folder}/extracted"

    @property
    def published(self) -> str:
        """Folder of the published result below the staging root."""
        return f"{catalogue_folder(self.archive, self.release, self.profile)}/batch={self.batch}"

    @property
    def path(self) -> str:
        """Where this manifest is kept, below the staging root."""
        return f"{self.folder}/{self.stage}.jsonl"

    def after(self, stage: str, entries: Iterable[Entry]) -> "Manifest":
        """Make the manifest of the next stage."""
        return replace(self, stage=stage, entries=tuple(entries))

    def to_text(self) -> str:
        """Write as JSON lines."""
        head: dict[str, Any] = {"kira_manifest": FORMAT} | {
            name: getattr(self, name) for name in ("batch", "archive", "release", "profile", "stage", "run")
        }
        head["frames"] = len(self.entries)
        return "".join(json.dumps(row) + "\n" for row in (head, *(entry.as_json() for entry in self.entries)))

    @classmethod
    def from_text(cls, text: str, name: str = "manifest") -> "Manifest":
        """Read JSON lines; InvalidInput if it is not a manifest or not whole."""
        try:
            head, *rows = [json.loads(line) for line in text.splitlines()]
            if head.pop("kira_manifest") != FORMAT or head.pop("frames") != len(rows):
                raise InvalidInput(f"{name} is cut short or of another version.")
            return cls(entries=tuple(Entry.from_json(row) for row in rows), **head)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInput(f"{name} is not a manifest of frames: {one_line(str(error))}") from error

    def save(self, store: Store) -> str:
        """Write to the batch's folder and return the URI."""
        store.write(self.path, self.to_text().encode())
        return store.uri(self.path)

    @staticmethod
    def root_of(uri: str) -> str:
        """Root URL of the store that a manifest lies in, from the manifest's own URI."""
        return uri.rsplit("/", 4)[0]

    @classmethod
    def load(cls, store: Store, uri: str) -> "Manifest":
        """Read from a URI below the store's root."""
        return cls.from_text(store.read(store.path_of(uri)).decode(), uri)


def catalogue_folder(archive: str, release: str, profile: str) -> str:
    """Folder of a catalogue below the staging root; holds the hash of its parameters, so stale can't pass for new."""
    return f"{archive}/catalog/{release}/{profile}"

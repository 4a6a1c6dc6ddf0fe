"""What a batch is held against, beside its manifest: limits, and the reference of each frame that has one."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from kira.errors import ChecksumMismatch, InvalidInput, StorageError
from kira.sdss import FrameId
from kira.sdss.beside import Kind
from kira.stages.beside import Once
from kira.stages.extraction import Measured
from kira.storage import Beside, Entry, Manifest, S3Mirror, open_readable
from kira.validation import Thresholds
from kira.validation.references import Reference, read_catalogue, read_photo_obj, read_truth

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """What is held against what.

    Parameters
    ----------
    thresholds : Thresholds
    catalogue : str
        Path or URL of a reference catalogue, for frames that have no reference beside them; empty for none.
    """

    thresholds: Thresholds = field(default_factory=Thresholds)
    catalogue: str = ""

    @classmethod
    def of(cls, thresholds: str, catalogue: str) -> "Rules":
        """Make them of settings: a TOML file of thresholds, and a reference catalogue; each may be empty."""
        return cls(Thresholds.load(thresholds) if thresholds else Thresholds(), catalogue)


class ReferencesOf:
    """The reference of each frame of a batch: the truth, else photoObj, else the catalogue that was set.

    What cannot be used is no reference, and said in `remarks`.

    Parameters
    ----------
    mirror : S3Mirror
    manifest : Manifest
    rules : Rules
    """

    def __init__(self, mirror: S3Mirror, manifest: Manifest, rules: Rules) -> None:
        self._mirror, self._rules = mirror, rules
        self._entries = {entry.frame: entry for entry in manifest.entries}
        self._contents = Once[Beside, bytes](self._content)
        self._photo_obj = Once[Beside, Reference | None](
            lambda one: read_photo_obj(self._content(one), one.key.rpartition("/")[2])
        )
        self.remarks: list[str] = []

    def __call__(self, frame: FrameId) -> Reference | None:
        """Return the reference of a frame; None where there is none."""
        entry = self._entries[frame]
        for kind in (Kind.TRUTH, Kind.PHOTOOBJ):
            for one in entry.beside:
                if one.kind == kind and not one.missing and (found := self._read(one, entry)) is not None:
                    return found
        return catalogue(self._rules.catalogue) if self._rules.catalogue else None

    def _read(self, one: Beside, entry: Entry) -> Reference | None:
        try:
            if one.kind == Kind.TRUTH:
                return read_truth(self._contents(one), entry.frame, one.key.rpartition("/")[2])
            return self._photo_obj(one)
        except (InvalidInput, ChecksumMismatch, StorageError) as error:
            log.warning("%s: not held against %s: %s", entry.frame, one.key, error)
            self.remarks.append(f"{entry.frame} was not held against {one.kind}: {error}")
            return None

    def _content(self, one: Beside) -> bytes:
        if one.sha256 is None:
            raise InvalidInput(f"{one.key} came to this stage without its SHA-256")
        return self._mirror.get(one.key, one.sha256)


@cache
def catalogue(place: str) -> Reference:
    """Read a reference catalogue, once a process.

    Parameters
    ----------
    place : str
        Path, or URL as of `kira.storage.open_readable`.

    Raises
    ------
    InvalidInput
        If it is no table with positions.
    StorageError
        If it cannot be read.
    """
    whole = place if "://" in place else str(Path(place).expanduser().absolute())
    folder, _, name = whole.rpartition("/")
    with open_readable(folder).open(name) as file:
        return read_catalogue(file.read(), name)


def remarks_on(measured: Sequence[Measured], most: int = 20) -> list[str]:
    """What frames lacked or could not use, each sentence once, with the number of frames it was said of.

    Parameters
    ----------
    measured : sequence of Measured
    most : int
        So many sentences at most, those of most frames.
    """
    kinds: Counter[str] = Counter()
    first: dict[str, str] = {}
    for one in measured:
        for remark in one.remarks:
            # Names of files differ, what is said of them does not.
            kind = f"{remark.partition('-')[0]} … {remark.partition(' ')[2][:60]}"
            kinds[kind] += 1
            first.setdefault(kind, remark)
    return [
        first[kind] if frames == 1 else f"{first[kind]} The same of {frames - 1:,} more frames."
        for kind, frames in kinds.most_common(most)
    ]

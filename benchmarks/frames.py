"""The frames that are measured: real ones or rendered ones, as often as it takes, no two of one file alike."""

import bz2
import gzip
import io
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits

from benchmarks.machine import cpus
from kira.datasets import DataSet
from kira.datasets.index import INDEX, Known
from kira.errors import InvalidInput
from kira.frames import unpack
from kira.frames.contents import FRAME_NUMBER_OFFSET
from kira.frames.frame import COLUMNS, ROWS
from kira.sample import SampleSpec, write_sample
from kira.sample.spec import LAST_SURVEY_RUN
from kira.sdss import FrameId, Release, Service

CROWDED = FrameId.parse("dr12-301-002583-2-0136-r")
"""The globular cluster M2: 6,442 sources by the profile `kira`, ten times as many as elsewhere."""
CROWDED_IS_SYNTHETIC = "The crowded frame is SYNTHETIC: rendered by kira.sample, for M2's is not among the frames."
DR12 = Release(12)
FIRST_FIELD, LAST_FIELD = 11, 9998
_STEP = 61
"""Rows by which each copy is rolled: no divisor of a background cell's 64, so that cells see other pixels too."""
_PART_OF_DISK = 0.4
"""Of what is free: the rest is for HDFS, which keeps two replicas, and for others."""
_CROWDED_STARS = 1_000_000.0


@dataclass(frozen=True)
class FrameFile:
    """A frame under its own identity, and the plain FITS file that holds it.

    Parameters
    ----------
    frame : FrameId
    path : Path
        Named by the frame; a link where several identities share a file.
    crowded : bool
        Whether it was asked for as a crowded one: a rendered one has another name than M2's.
    """

    frame: FrameId
    path: Path
    crowded: bool = False


@dataclass(frozen=True, eq=False)
class Original:
    """A frame that copies are made of.

    Parameters
    ----------
    frame : FrameId
    given : bytes or Path
        Plain FITS, or a file of an archive, which is read whenever it is needed: a data set may be larger than memory.
    """

    frame: FrameId
    given: bytes | Path

    @property
    def content(self) -> bytes:
        """Plain FITS."""
        if isinstance(self.given, bytes):
            return self.given
        return unpack(self.given.read_bytes(), self.given.name)

    def copy(self, number: int, field: int) -> bytes:
        """Return the same frame as another field, its pixels moved round by rows.

        By rows and not by columns, so that each pixel keeps its column's calibration. Number 0 is not moved.
        """
        content = bytearray(self.content)
        pixel = np.dtype(">i2" if self.frame.release.service is Service.DAS else ">f4")
        pixels = np.frombuffer(content, pixel, ROWS * COLUMNS, self._data_at).reshape(ROWS, COLUMNS)
        pixels[:] = np.roll(pixels, _STEP * number % ROWS, axis=0)
        at = content.index(b"FRAME   =")
        card = b"FRAME   = %20d" % (field + FRAME_NUMBER_OFFSET[self.frame.band])
        content[at : at + 80] = card.ljust(80)
        if self._field_at is not None:
            np.frombuffer(content, ">i4", 1, self._field_at)[:] = field
        return bytes(content)

    @cached_property
    def _data_at(self) -> int:
        with fits.open(io.BytesIO(self.content)) as hdus:
            return int(hdus[0].fileinfo()["datLoc"])

    @cached_property
    def _field_at(self) -> int | None:
        """Where HDU 3 of a `frame` file says which field it is."""
        if self.frame.release.service is Service.DAS:
            return None
        with fits.open(io.BytesIO(self.content)) as hdus:
            kind, offset = hdus[3].columns.dtype.fields["FIELD"][:2]
            if kind.itemsize != 4:
                raise InvalidInput(f"{self.frame}: FIELD in its HDU 3 is no 32-bit number.")
            return int(hdus[3].fileinfo()["datLoc"]) + int(offset)


def is_synthetic(frame: FrameId) -> bool:
    """Whether a frame has the number of a run that never was."""
    return frame.run > LAST_SURVEY_RUN


def read_originals(archive: Path) -> list[Original]:
    """All frames of a folder laid out like SDSS's archives, decompressed."""
    found = []
    for service, pattern, release in (("das", "fpC-*", Release(7)), ("sas", "frame-*", None)):
        root = archive / service
        for path in sorted(root.rglob(pattern)):
            frame = FrameId.from_archive_path(str(path.relative_to(root)), release)
            found.append(Original(frame, unpack(path.read_bytes(), path.name)))
    return sorted(found, key=lambda one: one.frame)


@dataclass(frozen=True, eq=False)
class Frames:
    """Where frames come from, and sets made of them.

    Parameters
    ----------
    folder : Path
        For the files; a set that was made before is found there again.
    ordinary, crowded : tuple of Original
        `crowded` is rendered when it is first asked for, if none is given.
    synthetic : bool
    copies : int, optional
        Most copies of an original that become files of their own; by default as many as the disk has room for. More
        frames than that share files, under other reruns.
    room : dict of Path to int
        Copies that the disk had room for when a set was first made.
    data_set : DataSet, optional
        That the originals are all frames of: they are taken evenly from all of it, under their own names.
    """

    folder: Path
    ordinary: tuple[Original, ...]
    given_crowded: tuple[Original, ...] = ()
    synthetic: bool = False
    copies: int | None = None
    room: dict[Path, int] = field(default_factory=dict)
    data_set: DataSet | None = None

    @classmethod
    def of_data_set(cls, data_set: DataSet, archive: Path, folder: Path, copies: int | None = None) -> "Frames":
        """Take exactly the frames of a data set, from the folder that it was fetched into.

        Raises
        ------
        InvalidInput
            If one of them is not there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        paths = fetched_frames(data_set, archive)
        originals = tuple(Original(frame, path) for frame, path in paths)
        synthetic = any(is_synthetic(one.frame) for one in originals)
        return cls(folder, originals, synthetic=synthetic, copies=copies, data_set=data_set)

    @property
    def release(self) -> Release:
        """Release of the sets that are of one release."""
        return self.data_set.release if self.data_set else DR12

    @classmethod
    def of(cls, archive: Path | None, folder: Path, copies: int | None = None) -> "Frames":
        """Read an archive's frames, or render some where there is none.

        Raises
        ------
        InvalidInput
            If there are no frames in the archive.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if archive is None:
            archive = folder / "sample"
            write_sample(SampleSpec(fields=1), archive, processes=len(cpus()))
        originals = read_originals(archive)
        if not originals:
            raise InvalidInput(
                f"There are no frames below {archive}: it must hold das/ or sas/, as SDSS's archives do."
            )
        return cls.from_originals(originals, folder, copies)

    @classmethod
    def from_originals(cls, originals: Iterable[Original], folder: Path, copies: int | None = None) -> "Frames":
        """Tell crowded frames from ordinary ones, and rendered from real ones."""
        originals = tuple(originals)
        crowded = tuple(one for one in originals if one.frame == CROWDED)
        ordinary = tuple(one for one in originals if one.frame != CROWDED)
        synthetic = any(is_synthetic(one.frame) for one in originals)
        return cls(folder, ordinary or crowded, crowded, synthetic=synthetic, copies=copies)

    @cached_property
    def crowded(self) -> Original:
        """A frame with thousands of sources."""
        if self.given_crowded:
            return self.given_crowded[0]
        place = self.folder / "sample-crowded"
        spec = SampleSpec(fields=1, bands=("r",), releases=(DR12,), run=9002, star_density=_CROWDED_STARS)
        write_sample(spec, place, processes=1)
        return read_originals(place)[0]

    def describe(self) -> str:
        """In a sentence."""
        kinds = f"{len(self.ordinary)} frames" + ("" if not self.given_crowded else " and M2's")
        if self.data_set:
            one = self.data_set
            kinds = f"data set {one.name}, {one.count:,} frames of {one.release}, list's SHA-256 {one.sha256}"
        if self.synthetic:
            return f"SYNTHETIC: {kinds}, rendered by kira.sample: no observations."
        beside = "" if self.given_crowded else " Where a scenario takes a crowded frame, that one is SYNTHETIC."
        return f"{kinds} of SDSS.{beside}"

    def notes(self) -> list[str]:
        """What a report of a set with crowded frames must say of them."""
        return [CROWDED_IS_SYNTHETIC] if is_synthetic(self.crowded.frame) else []

    def chosen(self, release: Release | None = None) -> tuple[Original, ...]:
        """Ordinary originals, of one release where one is given; at most five then: those of one field, in all bands.

        Sets of 50, 500 and 5,000 frames then have the same mixture.
        """
        if release is None or self.data_set:
            return self.ordinary
        return tuple(one for one in self.ordinary if one.frame.release == release)[:5]

    def make(self, count: int, release: Release | None = None, crowded: int = 0) -> list[FrameFile]:
        """Make a set of frames as plain files.

        Parameters
        ----------
        count : int
            Ordinary frames.
        release : Release, optional
            See `chosen`.
        crowded : int
            Crowded frames that are added.
        """
        place = self.folder / "frames" / (str(release) if release else "all")
        made = self._copies(place, self.chosen(release), count)
        if not crowded:
            return made
        return made + [replace(one, crowded=True) for one in self._copies(place, (self.crowded,), crowded)]

    def _copies(self, place: Path, originals: tuple[Original, ...], count: int) -> list[FrameFile]:
        if not originals:
            raise InvalidInput("The archive has no frame of the release that is needed.")
        place.mkdir(parents=True, exist_ok=True)
        if self.data_set:
            originals = _evenly(originals, count)
        most = self.copies or self.room.setdefault(place, _room(place, originals))
        made = []
        for number in range(count):
            original = originals[number % len(originals)]
            again, copy = divmod(number // len(originals), most)
            frame = self._identity(original, originals, copy, again, most)
            path = place / f"{frame}.fits"
            if not path.exists():
                if again == 0:
                    _write(path, self._content(original, copy, frame))
                else:
                    os.link(place / f"{self._identity(original, originals, copy, 0, most)}.fits", path)
            made.append(FrameFile(frame, path))
        return made

    def _identity(
        self, original: Original, originals: tuple[Original, ...], copy: int, again: int, most: int
    ) -> FrameId:
        if self.data_set:  # its fields are next to each other: copies are those of other reruns
            return replace(original.frame, rerun=original.frame.rerun + copy + again * most)
        return identity(original, originals, copy, again)

    def _content(self, original: Original, copy: int, frame: FrameId) -> bytes:
        return original.content if self.data_set and copy == 0 else original.copy(copy, frame.field)

    def archive(self, count: int, release: Release, folder: Path) -> list[Path]:
        """Write frames compressed into an archive's folders; all are files of their own."""
        originals = self.chosen(release)
        if not originals:
            raise InvalidInput(f"The archive has no frame of {release}.")
        if self.data_set:
            originals = _evenly(originals, count)

        def write(number: int) -> Path:
            original = originals[number % len(originals)]
            frame = self._identity(original, originals, number // len(originals), 0, 0)
            path = folder / str(frame.release.service) / frame.archive_path
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                plain = self._content(original, number // len(originals), frame)
                _write(path, _compressor(path)(plain))
            return path

        with ThreadPoolExecutor(len(cpus())) as pool:  # bz2 lets go of the interpreter's lock
            return list(pool.map(write, range(count)))

    def remove(self) -> None:
        """Remove what was made, but for what was rendered."""
        shutil.rmtree(self.folder / "frames", ignore_errors=True)


def _evenly(originals: tuple[Original, ...], count: int) -> tuple[Original, ...]:
    """So many of a long list, from all of it."""
    return tuple(originals[i * len(originals) // count] for i in range(count)) if count < len(originals) else originals


def fetched_frames(data_set: DataSet, folder: Path) -> list[tuple[FrameId, Path]]:
    """Frames of a data set, and their files in the folder that it was fetched into.

    Parameters
    ----------
    data_set : DataSet
    folder : Path

    Raises
    ------
    InvalidInput
        If a frame is not there, or not as it was fetched; the sentence says how many, and what to do.
    """
    fetch = f"kira datasets fetch {data_set.name}"
    if not (folder / INDEX).is_file():
        raise InvalidInput(f"Data set {data_set.name} was not fetched into {folder}: {fetch}, and then again.")
    found, missing = [], []
    # Not held: the folder may be somebody else's, or two benchmarks measure it at a time.
    index = Known((folder / INDEX).read_bytes(), INDEX)
    for stretch in data_set.stretches:
        rerun = stretch.rerun if stretch.rerun is not None else index.rerun(stretch.run)
        for number, band in stretch.places():
            frame = None if rerun is None else stretch.frame(data_set.release, rerun, number, band)
            place = "" if frame is None else f"{frame.release.service}/{frame.archive_path}"
            known, file = index.get(place), folder / place
            if frame is None or known is None or not file.is_file() or file.stat().st_size != known.size:
                missing.append(stretch.name(data_set.release, number, band))
            else:
                found.append((frame, file))
    if missing:
        raise InvalidInput(
            f"{len(missing):,} of the {data_set.count:,} frames of data set {data_set.name} are not in {folder}, the "
            f"first {missing[0]}: {fetch}, and then again."
        )
    return found


def identity(original: Original, originals: Iterable[Original], copy: int, again: int) -> FrameId:
    """Identity of a copy: bands of one field stay those of one field."""
    fields = sorted({(one.frame.run, one.frame.camcol, one.frame.field) for one in originals})
    here = fields.index((original.frame.run, original.frame.camcol, original.frame.field))
    field = FIRST_FIELD + copy * len(fields) + here
    if field > LAST_FIELD:
        raise InvalidInput(f"{original.frame} has no room for {copy} copies: a run has {LAST_FIELD} fields at most.")
    return replace(original.frame, field=field, rerun=original.frame.rerun + again)


def need_room(folder: Path, size: float) -> None:
    """Stop where the disk cannot hold what a scenario writes.

    Raises
    ------
    InvalidInput
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise InvalidInput(
            f"{folder} has {free / 1e9:.0f} GB free where {size / 1e9:.0f} are needed: take fewer frames."
        )


def _room(folder: Path, originals: tuple[Original, ...]) -> int:
    """Copies of each original that the disk has room for, three times: here, and two replicas in HDFS."""
    free = shutil.disk_usage(folder).free * _PART_OF_DISK
    # Not all of a data set is read for this; its frames are as large as each other.
    read = originals[: len(originals) if isinstance(originals[0].given, bytes) else 1]
    size = sum(len(one.content) for one in read) * len(originals) / len(read)
    return max(1, int(free / 3 / size))


def _compressor(path: Path) -> Callable[[bytes], bytes]:
    return bz2.compress if path.suffix == ".bz2" else gzip.compress


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(path.name + ".aside")
    aside.write_bytes(content)
    aside.replace(path)

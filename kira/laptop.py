"""FITS files on a laptop to a table of sources: no server, no archive, no ledger.

The same reading, measuring and table as in the pipeline. A file that cannot be measured does not stop the others.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from kira.catalog import source_table
from kira.errors import CorruptUpstream, InvalidInput, KiraError
from kira.extraction import Extraction, Profile, extract
from kira.frames import Companions, Frame, read_frame, unpack
from kira.frames.integrity import FITS_MAGIC
from kira.sdss import FrameId, Release, Service

MOST_BYTES = 1 << 32
# Greedy at their beginning: the innermost folders decide.
_SAS_FOLDERS = re.compile(r".*/(dr\d{1,2})/(?:.+/)?photoObj/frames/(\d+)/\d+/[1-6]/[^/]+", re.ASCII)
_DAS_FOLDERS = re.compile(r".*/imaging/\d+/(\d+)/corr/[1-6]/[^/]+", re.ASCII)
_DEFAULT = {Service.DAS: Release(7), Service.SAS: Release(17)}
_RERUN = 40


@dataclass(frozen=True)
class Named:
    """Which frame a file is, by its name and its folders.

    Parameters
    ----------
    frame : FrameId or None
        None for a file whose name is not that of an SDSS frame.
    remarks : tuple of str
        What had to be assumed.
    """

    frame: FrameId | None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class FileResult:
    """What became of one file.

    Parameters
    ----------
    path : Path
    frame : Frame or None
        None if it could not be read.
    extraction : Extraction or None
        None if it could not be measured.
    table : pyarrow.Table or None
    error : str
        One sentence; empty if all went well.
    remarks : tuple of str
        What could not be known, or was assumed.
    """

    path: Path
    frame: Frame | None = None
    extraction: Extraction | None = None
    table: pa.Table | None = None
    error: str = ""
    remarks: tuple[str, ...] = field(default=())


def name_of(path: Path, release: Release | None = None) -> Named:
    """Tell which frame a file is.

    Its folders say the release and the rerun where they are an archive's; else the release that is given counts, and
    without one DR7 (`fpC`) or DR17 (`frame`) is assumed, and rerun 40 for `fpC`.

    Raises
    ------
    InvalidInput
        If the release that is given has no files of such a name.
    """
    text = path.absolute().as_posix()
    if match := _SAS_FOLDERS.fullmatch(text):
        return Named(FrameId.from_file_name(path.name, release or Release.parse(match[1]), int(match[2])))
    if match := _DAS_FOLDERS.fullmatch(text):
        return Named(FrameId.from_file_name(path.name, release or _DEFAULT[Service.DAS], int(match[1])))
    for service, default in _DEFAULT.items():
        try:
            frame = FrameId.from_file_name(path.name, default, _RERUN if service is Service.DAS else None)
        except InvalidInput:
            continue
        if release is not None:
            return Named(FrameId.from_file_name(path.name, release, _RERUN if service is Service.DAS else None))
        rerun = f" and rerun {_RERUN}" if service is Service.DAS else ""
        return Named(frame, (f"Release {default}{rerun} assumed: neither its name nor its folder says it.",))
    return Named(None)


def companions_of(path: Path, frame: FrameId) -> Companions:
    """Files that tell more about a frame: beside it, or in the folders of the archive that it lies in.

    One that is damaged is handed on as it is: reading it ends in a remark, and not in the loss of the frame.
    """
    root = _archive_root(path, frame)

    def find(wanted: str | None) -> bytes | None:
        if not wanted:
            return None
        plain = wanted.removesuffix(".gz")
        places = [path.parent / Path(name).name for name in (plain, f"{plain}.gz")]
        places += [root / name for name in (plain, f"{plain}.gz")] if root else []
        for place in places:
            if place.is_file():
                content = place.read_bytes()
                with suppress(CorruptUpstream):
                    return unpack(content, place.name)
                return content
        return None

    return Companions(find(frame.tsfield_path), find(frame.psfield_path), find(frame.mask_path))


def _archive_root(path: Path, frame: FrameId) -> Path | None:
    for parent in path.absolute().parents:
        for name in (frame.archive_path, str(Path(frame.archive_path).with_name(frame.plain_name))):
            if (parent / name) == path.absolute():
                return parent
    return None


def read_file(path: Path, release: Release | None = None) -> tuple[Frame, tuple[str, ...]]:
    """Read a FITS file, compressed or not, with whatever lies beside it.

    Returns
    -------
    frame : Frame
    remarks : tuple of str
        What was assumed or could not be known.

    Raises
    ------
    InvalidInput
        If there is no such file, or the release has none of such a name.
    CorruptUpstream, BadFrame
        If it is damaged, or no image.
    """
    named = name_of(path, release)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}.") from error
    # An image may be compressed under any name; what is within, not the name, decides.
    plain = unpack(content, path.name if not content.startswith(FITS_MAGIC) else "image.fits", max_bytes=MOST_BYTES)
    frame = read_frame(plain, named.frame, companions_of(path, named.frame) if named.frame else None)
    return frame, named.remarks + frame.remarks


def measure_file(path: Path, profile: Profile, release: Release | None = None) -> FileResult:
    """Read and measure a file; what goes wrong is part of the result."""
    frame: Frame | None = None
    remarks: tuple[str, ...] = ()
    try:
        frame, remarks = read_file(path, release)
        found = extract(frame, profile)
        return FileResult(path, frame, found, _table(frame, found, profile), "", remarks)
    except (KiraError, MemoryError) as error:
        text = "not enough memory for it." if isinstance(error, MemoryError) else str(error)
        return FileResult(path, frame, error=text if path.name in text else f"{path}: {text}", remarks=remarks)


def _table(frame: Frame, found: Extraction, profile: Profile) -> pa.Table:
    table = source_table(frame, found, profile)
    about = table.schema.metadata | {b"kira_profile": profile.slug.encode(), b"kira_parameters": profile.json.encode()}
    return table.replace_schema_metadata(about)


def together(results: Sequence[FileResult]) -> pa.Table:
    """One table of what several files gave.

    Raises
    ------
    InvalidInput
        If none could be measured, or their fluxes are in different units.
    """
    tables = [result.table for result in results if result.table is not None]
    if not tables:
        raise InvalidInput("None of the files could be measured.")
    units = {table.schema.metadata.get(b"flux_unit", b"").decode() for table in tables}
    if len(units) > 1:
        raise InvalidInput(
            f"The files have fluxes in different units ({', '.join(sorted(units))}): write them to tables of their own."
        )
    metadata = dict(tables[0].schema.metadata)
    frames = [result.frame for result in results if result.frame is not None and result.table is not None]
    metadata[b"synthetic"] = b"yes" if any(frame.synthetic for frame in frames) else b"no"
    return pa.concat_tables(tables, promote_options="permissive").replace_schema_metadata(metadata)

"""Replace frames of a published batch: their files have changed in the archive, and they were measured anew.

The rows stay in the folder of the batch that holds them. Each file is made anew aside and renamed over the old one, so
that a reader sees a frame's old rows or its new ones, never both and never neither. Done twice it is the same.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kira.catalog import parquet_bytes, read_parts
from kira.sdss import FrameId
from kira.stages.digests import ROWS, PartFile, RowDigests, digests_of, updated
from kira.stages.extraction import MANIFEST, OUTCOMES, Measured, read_outcomes
from kira.storage import Manifest, Store

_IDENTITY = ("release", "rerun", "run", "camcol", "field", "band")


def replace_frames(
    store: Store, manifest: Manifest, holder: str, contents: Sequence[bytes], measured: Sequence[Measured]
) -> None:
    """Put new rows of some frames in place of the old ones.

    Parameters
    ----------
    store : Store
    manifest : Manifest
        Of the batch that measured them; what is written aside is written into its folder.
    holder : str
        Folder of the published batch that holds them.
    contents : sequence of bytes
        Parquet files that hold the new rows, also those of other frames.
    measured : sequence of Measured
        What extraction said of the frames to be replaced.
    """
    new = {one.frame: one for one in measured}
    rows, about = read_parts(contents), _metadata(contents[0]) if contents else {}
    old = read_outcomes(store, holder)
    parts = {one.frame: one.part for one in old if one.frame in new}
    digests = RowDigests.load(store, holder)
    store.delete(f"{holder}/{ROWS}")  # from here on they are not of these files
    written = {}
    for part in sorted(set(parts.values())):
        frames = [FrameId.parse(frame) for frame, its_part in parts.items() if its_part == part]
        name = part or _new_name(manifest)
        if content := _replace_rows(store, manifest, f"{holder}/{name}", rows, frames, about):
            written[name] = PartFile.of(content)
    if digests:
        mine = {frame: digest for frame, digest in digests_of(rows).items() if frame in new}
        _write_over(store, manifest, f"{holder}/{ROWS}", updated(digests, written, new, mine).to_bytes())
    parts = {frame: part or _new_name(manifest) for frame, part in parts.items()}
    outcomes = [replace(new[one.frame], part=parts[one.frame]) if one.frame in new else one for one in old]
    entries = {entry.frame: replace(entry, published=None, replaces=None) for entry in manifest.entries
               if str(entry.frame) in new}  # fmt: skip
    listed = Manifest.load(store, store.uri(f"{holder}/{MANIFEST}"))
    listed = replace(listed, entries=tuple(entries.get(entry.frame, entry) for entry in listed.entries))
    _write_over(store, manifest, f"{holder}/{MANIFEST}", listed.to_text().encode())
    _write_over(store, manifest, f"{holder}/{OUTCOMES}", "".join(_lines(outcomes)).encode())


def _new_name(manifest: Manifest) -> str:
    # Frames without a source may have had no file at all.
    return f"part-{manifest.batch}.parquet"


def _lines(outcomes: Iterable[Measured]) -> Iterable[str]:
    return (json.dumps(asdict(one)) + "\n" for one in outcomes)


def _replace_rows(
    store: Store, manifest: Manifest, path: str, rows: pa.Table, frames: list[FrameId], about: dict[str, str]
) -> bytes:
    """Write a file with a frame's new rows in place of the old ones; its content, nothing where there is none."""
    wanted = _rows_of(rows, frames)
    new = rows.filter(wanted)
    if store.exists(path):
        before = store.read(path)
        table, about = read_parts([before]), _metadata(before)
        table = pa.concat_tables([table.filter(pc.invert(_rows_of(table, frames))), new])
    elif not new.num_rows:
        return b""
    else:
        table = new
    content = parquet_bytes(table, metadata=about)
    _write_over(store, manifest, path, content)
    return content


def _metadata(content: bytes) -> dict[str, str]:
    """What a file says of itself, besides its columns."""
    found = pq.read_schema(pa.BufferReader(content)).metadata or {}
    return {name.decode(): value.decode() for name, value in found.items() if name != b"ARROW:schema"}


def _rows_of(table: pa.Table, frames: list[FrameId]) -> Any:
    """Which rows are of these frames."""
    chosen = pa.chunked_array([pa.nulls(table.num_rows, pa.bool_()).fill_null(False)])
    for frame in frames:
        values = (str(frame.release), frame.rerun, frame.run, frame.camcol, frame.field, frame.band)
        mine = None
        for name, value in zip(_IDENTITY, values, strict=True):
            same = pc.equal(table[name], pa.scalar(value, table[name].type))
            mine = same if mine is None else pc.and_(mine, same)
        chosen = pc.or_(chosen, mine)
    return chosen


def _write_over(store: Store, manifest: Manifest, path: str, content: bytes) -> None:
    # Not aside in the same folder: a reader who lists it must not come across half a file.
    aside = f"{manifest.folder}/replacement"
    store.write(aside, content)
    store.rename(aside, path, overwrite=True)

"""Reconciliation: what the archive has now, against what the ledger knows and what the mirror holds.

Folder by folder, so that a survey of millions of frames is never in memory; what neither archive nor mirror lists
otherwise than last time is not compared again. Nothing is deleted here: a frame that the archive does not list any more
is noted and reported.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kira.errors import InvalidInput
from kira.ledger import Reconciled
from kira.ledger.numbers import camcol_of, field_of, in_selection, run_of
from kira.sdss import FrameId, Numbers, Selection
from kira.sdss.archive import ArchiveClient
from kira.sdss.listing import ExpectedFolder, Folder, in_order
from kira.sdss.positions import FieldsByPlace
from kira.stages.places import mirror_folder
from kira.stages.work import Services

log = logging.getLogger(__name__)

_THREADS = 4


@dataclass(frozen=True)
class Found:
    """What a reconciliation found.

    Parameters
    ----------
    sums : Reconciled
    missing : list of FrameId
        Frames that should be there, that the archive does not list, and that it never did.
    within : callable or None
        Whether a key (see `kira.ledger.numbers`) is in the patch of sky that was asked for, if one was.
    """

    sums: Reconciled
    missing: list[FrameId]
    within: Callable[[int], bool] | None


def reconcile(
    services: Services,
    client: ArchiveClient,
    catalogue: int,
    selection: Selection,
    *,
    by_run_list: bool,
    withdrawn: Callable[[Sequence[FrameId]], None],
) -> Found:
    """Ask archive and mirror what they have of a selection, and write down what is new.

    Parameters
    ----------
    services : Services
    client : ArchiveClient
    catalogue : int
        Number of the catalogue in the ledger.
    selection : Selection
    by_run_list : bool
        Take what should exist from the release's run list. It says nothing of single files, so that nothing is taken
        for withdrawn or missing then.
    withdrawn : callable
        Takes frames that the archive does not list any more, folder by folder: if this is interrupted, those that were
        noticed are not noticed again.

    Raises
    ------
    ArchiveUnavailable, NotInArchive, StorageError
        If the archive or the mirror cannot be asked. What was compared until then stays written down.
    """
    ledger, fields = services.ledger, client.fields_in_sky(selection)
    within = None if fields is None else _in_fields(fields)
    scope = _scope(selection, within)
    whole = selection.fields.everything and len(selection.bands) == 5 and within is None
    before = ledger.folders(catalogue)
    sums, missing, seen = Reconciled(), list[FrameId](), set[tuple[int, int, int]]()
    named: list[FrameId] = []
    # A patch of sky names no frame, and a run list knows of none that are missing.
    by_name = selection.by_name and within is None and not by_run_list

    def with_mirror(folder: Folder | ExpectedFolder) -> tuple[Folder | ExpectedFolder, dict[FrameId, int]]:
        return folder, _mirrored(services, folder)

    for folder, mirrored in in_order(with_mirror, _listing(client, selection, by_run_list), _THREADS):
        place = (folder.run, folder.rerun, folder.camcol)
        seen.add(place)
        hashes = (folder.digest, _digest(mirrored)) if whole else None
        if hashes is not None and before.get(place) == hashes:
            sums += Reconciled(listed=folder.count)
        else:
            listed = {one.frame: one.fingerprint for one in folder.listed}
            found, gone = ledger.reconcile(
                catalogue, selection.release, place, listed, mirrored, None if by_run_list else scope, hashes
            )
            sums += found
            withdrawn(gone)
        if by_name:
            named += (one.frame for one in folder.listed)
        elif not by_run_list:
            frames = [one.frame for one in folder.listed]
            missing += missing_frames(replace(selection, runs=Numbers()), frames)
    if not by_run_list:
        for place in sorted(_asked_folders(ledger.known_folders(catalogue), selection, fields) - seen):
            found, gone = ledger.reconcile(catalogue, selection.release, place, {}, None, scope, None)
            sums += found
            withdrawn(gone)
        missing += missing_frames(selection, named) if by_name else []
    known = ledger.known(catalogue, missing)
    return Found(sums, [frame for frame in missing if frame not in known], within)


def _listing(client: ArchiveClient, selection: Selection, by_run_list: bool) -> Iterator[Folder | ExpectedFolder]:
    if by_run_list:
        yield from client.folders_from_run_list(selection)
    else:
        yield from client.folders(selection)


def _in_fields(fields: FieldsByPlace) -> Callable[[int], bool]:
    none = frozenset[int]()
    return lambda number: field_of(number) in fields.get((run_of(number), camcol_of(number)), none)


def _scope(selection: Selection, within: Callable[[int], bool] | None) -> Callable[[int], bool]:
    """Whether a frame was asked for, by its key."""
    if within is None:
        return lambda number: in_selection(number, selection)
    return lambda number: in_selection(number, selection) and within(number)


def _mirrored(services: Services, folder: Folder | ExpectedFolder) -> dict[FrameId, int]:
    """Frames of a folder that are in S3, and their bytes."""
    prefix = mirror_folder(services.archive, folder.release, folder.run, folder.rerun, folder.camcol)
    found = {}
    for key, size in services.mirror.listing(prefix).items():
        name = key.removeprefix(prefix)
        try:
            found[FrameId.from_file_name(name, folder.release, folder.rerun)] = size
        except InvalidInput:
            log.warning("s3://%s/%s is no frame: it was not mirrored by Kira", services.mirror.bucket, key)
    return found


def _digest(mirrored: dict[FrameId, int]) -> str:
    hasher = hashlib.sha256()
    for frame, size in sorted(mirrored.items()):
        hasher.update(f"{frame} {size}\n".encode())
    return hasher.hexdigest()


def _asked_folders(
    known: Iterable[tuple[int, int, int]], selection: Selection, fields: FieldsByPlace | None
) -> set[tuple[int, int, int]]:
    return {
        (run, rerun, camcol) for run, rerun, camcol in known
        if run in selection.runs and camcol in selection.camcols and (fields is None or (run, camcol) in fields)
    }  # fmt: skip


def missing_frames(selection: Selection, found: Sequence[FrameId]) -> list[FrameId]:
    """Frames that should be there and are not listed by the archive.

    - A field of which two bands or more are listed has five: the others of the selection are expected. (A field with
      one band alone was copied that way.)
    - A run and a field typed as single numbers are asked for by name and expected.
    - Of a typed range of fields, those between the first and the last that a camera column has are expected, so that
      a hole is noticed and the end of a run is not; all of them, if a run typed as a single number has none.

    Parameters
    ----------
    selection : Selection
    found : sequence of FrameId
        What the archive lists of it.
    """
    have = set(found)
    bands = Counter(replace(frame, band="r") for frame in found)
    expected = {replace(field, band=band) for field, n in bands.items() if n > 1 for band in selection.bands}
    if selection.by_name:
        expected |= _asked_by_name(selection, found)
    return sorted(expected - have)


def _asked_by_name(selection: Selection, found: Sequence[FrameId]) -> set[FrameId]:
    by_run: dict[int, list[FrameId]] = {low: [] for low, high in selection.runs.ranges if low == high}
    for frame in found:
        by_run.setdefault(frame.run, []).append(frame)
    expected: set[FrameId] = set()
    for run, seen in by_run.items():
        rerun = seen[0].rerun if seen else selection.release.reruns[0]
        # A run that is not there at all is missing in all six camera columns.
        for camcol in set(selection.camcols) or {f.camcol for f in seen} or set(range(1, 7)):
            fields = _expected_fields(selection, [f.field for f in seen if f.camcol == camcol])
            expected |= {
                FrameId(selection.release, run, rerun, camcol, field, band)
                for field in fields
                for band in selection.bands
            }
    return expected


def _expected_fields(selection: Selection, listed: Sequence[int]) -> set[int]:
    if not listed:
        return set(selection.fields)
    singles = {low for low, high in selection.fields.ranges if low == high}
    return singles | {field for field in range(min(listed), max(listed) + 1) if field in selection.fields}

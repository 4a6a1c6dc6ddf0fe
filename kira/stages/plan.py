"""Plan: what is asked for, minus what is done, cut into batches."""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from kira.errors import InvalidInput
from kira.extraction import Parameters
from kira.ledger import Context, Outcome, Record, Stage
from kira.sdss import FrameId, Selection
from kira.sdss.archive import Archive, ArchiveClient
from kira.stages.catalogue import published_frames
from kira.stages.extraction import OUTCOMES, read_outcomes
from kira.stages.work import Attempt, Services
from kira.storage import Entry, Manifest

log = logging.getLogger(__name__)

MAX_BATCHES = 1000
"""Airflow maps a task at most 1,024 times by default."""
SETTLED = (Outcome.CORRUPT_UPSTREAM, Outcome.BAD_FRAME, Outcome.EXTRACTION_FAILED)
"""Failures that the same bytes and the same parameters would give again."""


@dataclass(frozen=True)
class Plan:
    """What a DAG run is going to do.

    Parameters
    ----------
    selection : str
        In words.
    profile : str
        Slug of the extraction parameters.
    found : int
        Frames of the selection that the archive has.
    published : int
        Of those, the ones that are in the catalogue already.
    settled : int
        Of those, the ones that failed for good before and are not tried again.
    planned : int
        Of those, the ones that go into batches.
    missing : int
        Frames asked for by name that the archive does not have.
    batches : list of str
        URIs of the manifests.
    """

    selection: str
    archive: str
    release: str
    profile: str
    found: int
    published: int
    settled: int
    planned: int
    missing: int
    batches: list[str]


def plan(
    services: Services, attempt: Attempt, client: ArchiveClient, selection: Selection, parameters: Parameters, *,
    batch_size: int, again: bool = False, by_run_list: bool = False,
) -> Plan:  # fmt: skip
    """Write a manifest for each batch of frames to be worked on.

    Parameters
    ----------
    services : Services
    attempt : Attempt
    client : ArchiveClient
    selection : Selection
    parameters : Parameters
    batch_size : int
        Most frames in a batch.
    again : bool
        Also frames that failed for good before.
    by_run_list : bool
        Take what should exist from the release's run list instead of what the index pages show.

    Raises
    ------
    InvalidInput
        If the selection is too large for one run.
    ArchiveUnavailable, NotInArchive
        If the archive cannot be asked what it has.
    """
    archive, release = services.archive, selection.release
    listing = client.list_from_run_list if by_run_list else client.list_frames
    found = sorted(frame for frame in listing(selection) if frame in selection)
    missing = [] if by_run_list else missing_frames(selection, found)
    published = published_frames(services, archive.name, str(release), parameters.slug)
    settled = services.ledger.failed(archive.name, str(release), parameters.slug, SETTLED)
    if again:
        _forget_bad_frames(services, archive, parameters, [f for f in found if str(f) not in published])
        settled = set()
    todo = [f for f in found if str(f) not in published and str(f) not in settled]
    chunks = [todo[start : start + batch_size] for start in range(0, len(todo), batch_size)]
    if len(chunks) > MAX_BATCHES:
        raise InvalidInput(
            f"{len(todo):,} frames make {len(chunks):,} batches of {batch_size}, and one run takes {MAX_BATCHES}: "
            "select fewer runs, or set a larger batch size."
        )
    batches = [_write(services, attempt, archive, parameters, chunk) for chunk in chunks]
    planned_by = Context(
        f"plan-{run_key(attempt.dag_run)}"[:80], archive.name, str(release), parameters.slug, attempt.dag_run,
        attempt.number,
    )  # fmt: skip
    where = archive.base(release)
    services.ledger.record(planned_by, Stage.PLAN, (
        Record(f, Outcome.NOT_IN_ARCHIVE, f"{f} was asked for, but is not listed in {where}/{f.folder}")
        for f in missing
    ))  # fmt: skip
    done = Plan(
        str(selection), archive.name, str(release), parameters.slug, len(found),
        sum(str(f) in published for f in found), sum(str(f) in settled and str(f) not in published for f in found),
        len(todo), len(missing), batches,
    )  # fmt: skip
    services.store.write(
        report_path(archive.name, attempt.dag_run, "plan"), json.dumps(asdict(done), indent=1).encode()
    )
    log.info(
        "%s at %s: %d frames in the archive, %d published already, %d failed for good before, "
        "%d asked for but missing; %d to do in %d batches",
        done.selection, archive.name, done.found, done.published, done.settled, done.missing, done.planned,
        len(batches),
    )  # fmt: skip
    return done


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


def _write(
    services: Services, attempt: Attempt, archive: Archive, parameters: Parameters, frames: Sequence[FrameId],
) -> str:  # fmt: skip
    release = frames[0].release
    manifest = Manifest(
        batch_name(archive, parameters, frames), archive.name, str(release), parameters.slug, str(Stage.PLAN),
        attempt.dag_run, tuple(_entry(archive, frame) for frame in frames),
    )  # fmt: skip
    _forget_failed_attempt(services, manifest)
    uri = manifest.save(services.store)
    services.store.write(f"{manifest.folder}/parameters.json", json.dumps(parameters.as_dict(), indent=1).encode())
    services.ledger.record(attempt.context(manifest), Stage.PLAN, (Record(frame, Outcome.OK) for frame in frames))
    return uri


def _forget_failed_attempt(services: Services, manifest: Manifest) -> None:
    # The same frames make the same batch. What an interrupted run finished of it is used again, but not a result in
    # which frames failed: those are the reason why they are planned anew.
    if services.store.exists(f"{manifest.extracted}/{OUTCOMES}"):
        measured = read_outcomes(services.store, manifest.extracted)
        if not all(Outcome(one.outcome).good for one in measured):
            services.store.delete(manifest.extracted)


def _forget_bad_frames(services: Services, archive: Archive, parameters: Parameters, frames: Sequence[FrameId]) -> None:
    # What was no frame when it was fetched may be one in the archive by now. All else in the mirror stays.
    if not frames:
        return
    bad = services.ledger.failed(archive.name, str(frames[0].release), parameters.slug, [Outcome.BAD_FRAME])
    for entry in (_entry(archive, frame) for frame in frames if str(frame) in bad):
        services.mirror.delete(entry.key)
        services.store.delete(entry.staged)


def _entry(archive: Archive, frame: FrameId) -> Entry:
    service = frame.release.service
    return Entry(
        frame,
        archive.url(frame),
        key=f"{archive.name}/{service}/{frame.archive_path}",
        staged=f"{archive.name}/frames/{frame.staged_path}",
    )


def batch_name(archive: Archive, parameters: Parameters, frames: Sequence[FrameId]) -> str:
    """Name that is the same whenever the same frames are planned for the same catalogue."""
    text = "\n".join([archive.name, parameters.slug, *map(str, frames)])
    return f"{frames[0].release}-{frames[0].run:06d}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def run_key(dag_run: str) -> str:
    """A DAG run's id as a plain name: HDFS takes no colon, and ids may hold anything."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "-", dag_run)[:60].strip("-")
    return f"{plain}-{hashlib.sha256(dag_run.encode()).hexdigest()[:8]}"


def report_path(archive: str, dag_run: str, name: str) -> str:
    """Where a DAG run's plan and report lie below the staging root."""
    return f"{archive}/runs/{run_key(dag_run)}/{name}.json"

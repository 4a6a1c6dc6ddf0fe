"""Plan: what is asked for, minus what is done, cut into batches."""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache

from kira.errors import InvalidInput
from kira.extraction import Profile
from kira.ledger import Context, Outcome, Record, Stage, ToDo
from kira.ledger.numbers import number_of
from kira.ledger.status import tallied
from kira.sdss import FrameId, Selection
from kira.sdss.archive import Archive, ArchiveClient
from kira.sdss.listing import sha1_of
from kira.stages.beside import REFERENCE_EVERY, fields_with_reference, wanted
from kira.stages.catalogue import bring_into_line
from kira.stages.extraction import OUTCOMES, read_outcomes
from kira.stages.places import mirror_key, staged_path
from kira.stages.reconcile import reconcile
from kira.stages.work import Attempt, Services
from kira.storage import Entry, Manifest

log = logging.getLogger(__name__)

MAX_BATCHES = 1000
"""Airflow maps a task at most 1,024 times by default."""
SMALLEST_BATCH, LARGEST_BATCH = 200, 2000
"""Frames in a batch where nobody says how many: few, to see results soon; many, where there are very many to do."""


@dataclass(frozen=True)
class Plan:
    """What a DAG run is going to do.

    Parameters
    ----------
    selection : str
        In words.
    archive, release : str
    profile : str
        Slug of the extraction parameters.
    found : int
        Frames of the selection that the archive has.
    published : int
        Of those, the ones that are in the catalogue already and have not changed.
    settled : int
        Of those, the ones that failed for good before, or too often, and are not tried again by themselves.
    planned : int
        Of those, the ones that go into batches.
    left : int
        Of those, the ones that wait for the next run: one run takes so many batches and no more.
    elsewhere : int
        Of those, the ones that another run is at work on, as far as the plan came.
    missing : int
        Frames asked for by name that the archive does not have.
    new, changed, withdrawn, returned, lost : int
        What has changed since the archive and the mirror were asked last; see `kira.ledger.Reconciled`.
    why : dict of str to int
        Planned frames by reason: new, unfinished, failed, changed, lost.
    batches : list of str
        URIs of the manifests.
    """

    selection: str
    archive: str
    release: str
    profile: str
    found: int = 0
    published: int = 0
    settled: int = 0
    planned: int = 0
    left: int = 0
    elsewhere: int = 0
    missing: int = 0
    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    returned: int = 0
    lost: int = 0
    why: dict[str, int] = field(default_factory=dict)
    batches: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """What somebody asks of a plan, beside the selection.

    Parameters
    ----------
    batch_size : int
        Most frames in a batch; 0 for a size that suits how much there is to do.
    max_batches : int
        Most batches in one run, at most `MAX_BATCHES`; what is left waits for the next.
    again : bool
        Also frames that failed for good before.
    by_run_list : bool
        Take what should exist from the release's run list instead of what the index pages show.
    reference_every : int
        One field in so many of a run's camera column is held against a reference, where the archive has one; 0: none.

    Raises
    ------
    InvalidInput
        If a number is out of its range.
    """

    batch_size: int = 0
    max_batches: int = 100
    again: bool = False
    by_run_list: bool = False
    reference_every: int = REFERENCE_EVERY

    def __post_init__(self) -> None:
        if not 0 <= self.batch_size <= 5000:
            raise InvalidInput(f"A batch has 1 to 5000 frames (0: as many as suit), not {self.batch_size}.")
        if not 1 <= self.max_batches <= MAX_BATCHES:
            raise InvalidInput(f"A run takes 1 to {MAX_BATCHES} batches, not {self.max_batches}.")


def plan(
    services: Services, attempt: Attempt, client: ArchiveClient, selection: Selection, parameters: Profile, *,
    batch_size: int = 0, max_batches: int = 100, again: bool = False, by_run_list: bool = False,
    reference_every: int = REFERENCE_EVERY, is_live: Callable[[str], bool] = lambda _run: False,
) -> Plan:  # fmt: skip
    """Compare archive, ledger, mirror and catalogue, and write a manifest for each batch of frames to be worked on.

    Parameters
    ----------
    services : Services
    attempt : Attempt
    client : ArchiveClient
    selection : Selection
    parameters : Profile
    batch_size, max_batches, again, by_run_list, reference_every
        See `Asked`.
    is_live : callable
        Whether a DAG run is still at work: what it has is left to it.

    Raises
    ------
    InvalidInput
        If a number is out of its range.
    ArchiveUnavailable, NotInArchive
        If the archive cannot be asked what it has.
    """
    asked = Asked(batch_size, max_batches, again, by_run_list, reference_every)
    archive, release = services.archive.name, str(selection.release)
    catalogue = services.ledger.catalogue(archive, release, parameters.slug)
    whole = Context(
        f"plan-{run_key(attempt.dag_run)}"[:80], archive, release, parameters.slug, attempt.dag_run, attempt.number,
        attempt.dag, attempt.log,
    )  # fmt: skip
    with services.ledger.attempt(whole, Stage.PLAN, 0):
        bring_into_line(services, archive, release, parameters.slug)
        where = services.archive.base(selection.release)

        def withdrawn(frames: Sequence[FrameId]) -> None:
            for frame in frames[:20]:
                log.warning("%s was listed by archive %s, and is not any more", frame, archive)
            services.ledger.record(whole, Stage.PLAN, (
                Record(f, Outcome.WITHDRAWN, f"{f} was listed in {where}/{f.folder}, and is not any more")
                for f in frames
            ))  # fmt: skip

        found = reconcile(services, client, catalogue, selection, by_run_list=by_run_list, withdrawn=withdrawn)
        services.ledger.record(whole, Stage.PLAN, (
            Record(f, Outcome.NOT_IN_ARCHIVE, f"{f} was asked for, but is not listed in {where}/{f.folder}")
            for f in found.missing
        ))  # fmt: skip
        # Also those that an attempt of this task noticed that did not come to its end.
        noticed = [row["frames"] for row in services.ledger.figures(attempt.dag_run) if row["outcome"] == _WITHDRAWN]
        if again:
            _forget_bad_frames(services, services.ledger.try_again(catalogue, selection))
        done = replace(
            _cut(services, attempt, catalogue, selection, parameters, asked, found.within, is_live),
            missing=len(found.missing), **{name: getattr(found.sums, name) for name in _CHANGES} | {
                "withdrawn": sum(noticed)
            },
        )  # fmt: skip
    services.store.write(report_path(archive, attempt.dag_run, "plan"), json.dumps(asdict(done), indent=1).encode())
    log.info("%s", in_words(done))
    return done


_WITHDRAWN = Outcome.WITHDRAWN.value
_CHANGES = ("new", "changed", "withdrawn", "returned", "lost")


def in_words(plan: Plan) -> str:
    """One sentence about a plan."""
    parts = [
        f"{plan.found:,} frames in the archive", f"{plan.published:,} published already",
        f"{plan.settled:,} failed for good before", f"{plan.missing:,} asked for but missing",
        f"{plan.planned:,} to do in {len(plan.batches):,} batches",
    ]  # fmt: skip
    parts += [f"{getattr(plan, name):,} {name}" for name in _CHANGES[1:] if getattr(plan, name)]
    parts += [f"{plan.elsewhere:,} at work in another run"] if plan.elsewhere else []
    parts += [f"{plan.left:,} left for the next run"] if plan.left else []
    return f"{plan.selection} at {plan.archive}: {'; '.join(parts)}"


def _cut(
    services: Services, attempt: Attempt, catalogue: int, selection: Selection, parameters: Profile, asked: Asked,
    within: Callable[[int], bool] | None, is_live: Callable[[str], bool],
) -> Plan:  # fmt: skip
    """Cut what is to do into batches, the first ones of it."""
    counts = counts_of(services, catalogue, selection, within)
    done = Plan(
        str(selection), services.archive.name, str(selection.release), parameters.slug, found=counts["found"],
        published=counts["published"], settled=counts["settled"],
    )  # fmt: skip
    to_do = counts["to_do"]
    size = asked.batch_size or min(max(SMALLEST_BATCH, -(-to_do // asked.max_batches)), LARGEST_BATCH)
    live = cache(is_live)
    batches: list[str] = []

    def write(chunk: list[ToDo]) -> str:
        return _write(services, attempt, parameters, asked, chunk)

    waiting: dict[str, list[ToDo]] = {}
    why: Counter[str] = Counter()
    elsewhere = 0
    for one in services.ledger.to_do(catalogue, selection):
        if within is not None and not within(number_of(one.frame)):
            continue
        if one.in_hand and one.dag_run not in (None, attempt.dag_run) and live(str(one.dag_run)):
            elsewhere += 1
            continue
        kind = _kind(one)
        if kind not in waiting and len(batches) + len(waiting) >= asked.max_batches:
            break  # the rest, of which there may be millions, waits for the next run
        chunk = waiting.setdefault(kind, [])
        chunk.append(one)
        why[one.why] += 1
        if len(chunk) == size:
            batches.append(write(waiting.pop(kind)))
    batches += [write(chunk) for chunk in waiting.values()]
    planned = sum(why.values())
    return replace(
        done, planned=planned, left=to_do - planned - elsewhere, elsewhere=elsewhere, why=dict(why),
        batches=batches,
    )  # fmt: skip


def _kind(one: ToDo) -> str:
    """Frames of different kinds do not share a batch.

    New frames become a folder of the catalogue; those that are in it already are put in place of their old rows. What
    a run that stopped has left keeps its batch, so that what was finished of it is used again.
    """
    if one.published_batch is not None:
        return "in the catalogue"
    return f"batch {one.batch}" if one.why == "unfinished" else "new"


def counts_of(
    services: Services, catalogue: int, selection: Selection, within: Callable[[int], bool] | None
) -> dict[str, int]:
    """Frames of a selection that the archive has, that are published and unchanged, failed for good, or to do."""
    rows = tallied(services.ledger, catalogue, selection, within)
    there = [row for row in rows if not row.withdrawn and (row.stage, row.outcome) != _NOT_THERE]
    finished = [row for row in there if not row.to_do]
    good = [row for row in finished if row.published and Outcome(row.outcome).good]
    return {
        "found": sum(row.frames for row in there),
        "published": sum(row.frames for row in good),
        "to_do": sum(row.frames for row in there if row.to_do),
        "settled": sum(row.frames for row in finished) - sum(row.frames for row in good),
    }


_NOT_THERE = (Stage.PLAN.value, Outcome.NOT_IN_ARCHIVE.value)


def _write(services: Services, attempt: Attempt, parameters: Profile, asked: Asked, chunk: Sequence[ToDo]) -> str:
    archive, frames = services.archive, [one.frame for one in chunk]
    release = frames[0].release
    text = [f"{one.listed} {one.published_sha256}" for one in chunk if one.published_batch is not None]
    compared = fields_with_reference(frames, asked.reference_every)
    manifest = Manifest(
        batch_name(archive, parameters, frames, text), archive.name, str(release), parameters.slug, str(Stage.PLAN),
        attempt.dag_run, tuple(_entry(archive, one, parameters, compared) for one in chunk),
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


def _forget_bad_frames(services: Services, failed: Mapping[FrameId, Outcome]) -> None:
    # What was no frame when it was fetched may be one in the archive by now. All else in the mirror stays.
    for frame, outcome in failed.items():
        if outcome is Outcome.BAD_FRAME:
            services.mirror.delete(mirror_key(services.archive, frame))
            services.store.delete(staged_path(services.archive, frame))


def _entry(archive: Archive, one: ToDo, parameters: Profile, compared: Collection[tuple[int, int, int]]) -> Entry:
    frame = one.frame
    has_reference = (frame.run, frame.camcol, frame.field) in compared
    kinds = (kind for kind in parameters.beside if has_reference or not kind.is_reference)
    return Entry(
        frame, archive.url(frame), mirror_key(archive, frame), staged_path(archive, frame), listed=one.listed,
        sha1=sha1_of(one.listed), published=one.published_sha256, replaces=one.published_batch, why=one.why,
        beside=wanted(archive, frame, kinds),
    )  # fmt: skip


def batch_name(archive: Archive, parameters: Profile, frames: Sequence[FrameId], more: Sequence[str] = ()) -> str:
    """Name that is the same whenever the same frames are planned for the same catalogue."""
    text = "\n".join([archive.name, parameters.slug, *map(str, frames), *more])
    return f"{frames[0].release}-{frames[0].run:06d}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def run_key(dag_run: str) -> str:
    """A DAG run's id as a plain name: HDFS takes no colon, and ids may hold anything."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "-", dag_run)[:60].strip("-")
    return f"{plain}-{hashlib.sha256(dag_run.encode()).hexdigest()[:8]}"


def report_path(archive: str, dag_run: str, name: str) -> str:
    """Where a DAG run's plan and report lie below the staging root."""
    return f"{archive}/runs/{run_key(dag_run)}/{name}.json"

"""The ledger: where every frame is, and why, in a database."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Select, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.orm import aliased

from kira.ledger.database import Database
from kira.ledger.frames import Change, chunks, read_range, read_states, upsert, write_new, write_states
from kira.ledger.numbers import band_of, folder_range, frame_of, in_selection, number_of, run_ranges
from kira.ledger.outcomes import Outcome, Stage
from kira.ledger.states import Happening, after, anew, compared, not_published, run_is_over
from kira.ledger.tables import (
    AttemptTable,
    BatchTable,
    CatalogueTable,
    CheckedTable,
    ClaimTable,
    DagRunTable,
    FolderTable,
    FrameTable,
    OutcomeTable,
)
from kira.ledger.values import Context, OutcomeRow, Rate, Reconciled, Record, StageRow, ToDo, Work
from kira.sdss import FrameId, Release, Selection
from kira.sdss.listing import differ

_GOES_ON = [outcome.value for outcome in Outcome if outcome.goes_on]
_GOOD = [outcome.value for outcome in Outcome if outcome.good]
_STAGES = list(Stage)


class Ledger:
    """Outcomes in a database.

    Parameters
    ----------
    url : str
        SQLAlchemy URL: `sqlite:///…` or `postgresql+psycopg://…`. Missing tables are made, old ones brought up to date.
    """

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.engine = self.database.engine
        self.database.bring_up_to_date()
        self._numbers: dict[tuple[str, ...], int] = {}

    # -- names that are kept once

    def catalogue(self, archive: str, release: str, profile: str) -> int:
        """Number of a catalogue, made if it is new."""
        return self._number(CatalogueTable, {"archive": archive, "release": release, "profile": profile}, {})

    def _run(self, context: Context) -> int:
        return self._number(DagRunTable, {"name": context.dag_run}, {"dag": context.dag, "began": _now()})

    def _batch(self, context: Context) -> int:
        return self._number(BatchTable, {"name": context.batch}, {"catalogue_id": self._catalogue_of(context)})

    def _catalogue_of(self, context: Context) -> int:
        return self.catalogue(context.archive, context.release, context.profile)

    def _number(self, table: Any, key: dict[str, str], rest: dict[str, Any]) -> int:
        cached = (table.__tablename__, *key.values())
        if cached not in self._numbers:
            query = select(table.id).where(*(getattr(table, name) == value for name, value in key.items()))
            with self.database.reading() as connection:
                number = connection.scalar(query)
            if number is None:
                with self.database.alone() as connection:
                    connection.execute(upsert(connection, table).values(key | rest).on_conflict_do_nothing())
                    number = connection.scalar(query)
            self._numbers[cached] = int(number or 0)
        return self._numbers[cached]

    # -- recording

    def record(self, context: Context, stage: Stage, records: Iterable[Record]) -> None:
        """Write outcomes; the newest stands, the attempts are counted, and the state of each frame follows."""
        told = list(records)
        if not told:
            return
        catalogue, run, batch = self._catalogue_of(context), self._run(context), self._batch(context)
        for part in chunks(told, 2000):
            now = _now()
            by_number = {number_of(record.frame): record for record in part}
            rows = [_outcome(run, batch, stage, number, record, now) for number, record in sorted(by_number.items())]
            with self.database.alone(catalogue) as connection:
                connection.execute(_keep_newest(upsert(connection, OutcomeTable)), rows)
                _forget_later_stages(connection, run, batch, stage, by_number)
                states = read_states(connection, catalogue, list(by_number))
                changes: dict[int, Change] = {}
                for number, record in by_number.items():
                    old = states.get(number)
                    what = Happening(
                        stage, record.outcome, record.retrying, record.again, run, batch, now, record.sha256,
                        record.size, record.sources, record.listed,
                    )  # fmt: skip
                    changes[number] = old, after(old, what)
                write_states(connection, catalogue, changes)
                if stage is Stage.MIRROR:
                    _mirror_is_another(connection, catalogue, by_number)
                healed = sum(old is not None and old.damaged and not new.damaged for old, new in changes.values())
                _add_checks(connection, catalogue, stage, part, healed, now)

    @contextmanager
    def attempt(self, context: Context, stage: Stage, frames: int) -> Iterator[Work]:
        """Keep on record that a stage began, and how it ended; a killed one has no end."""
        number, work = self.begin_attempt(context, stage, frames), Work()
        try:
            yield work
        except Exception as error:
            self.end_attempt(number, size=work.size, error=f"{type(error).__name__}: {error}")
            raise
        self.end_attempt(number, size=work.size)

    def begin_attempt(self, context: Context, stage: Stage, frames: int) -> int:
        """Keep on record that a stage begins; the number is for `end_attempt`."""
        row = self._attempt_row(context, stage, frames, _now())
        with self.database.alone() as connection:
            made = connection.execute(insert(AttemptTable).values(row).returning(AttemptTable.id))
            return int(made.scalar_one())

    def end_attempt(self, number: int, *, size: int = 0, error: str = "") -> None:
        """Keep on record that an attempt ended, and why it failed if it did."""
        ended = update(AttemptTable).where(AttemptTable.id == number)
        with self.database.alone() as connection:
            connection.execute(ended.values(ended=_now(), size=size, error=_text(error, 2000)))

    def add_attempt(
        self, context: Context, stage: Stage, frames: int, began: datetime, ended: datetime, size: int = 0
    ) -> None:
        """Keep on record an attempt that another process made, with its times in UTC.

        Told twice it is one, and it is none if an attempt is known within which it was made.
        """
        first, last = began.replace(tzinfo=None), ended.replace(tzinfo=None)
        row = self._attempt_row(context, stage, frames, first) | {"ended": last, "size": size}
        same = select(AttemptTable.id).where(
            *(getattr(AttemptTable, name) == row[name] for name in ("batch_id", "stage", "dag_run_id")),
            or_(AttemptTable.began == first, and_(AttemptTable.began <= first, AttemptTable.ended >= last)),
        )
        with self.database.alone() as connection:
            known = connection.scalar(same)
            if known is None:
                connection.execute(insert(AttemptTable).values(row))
            elif size:
                connection.execute(update(AttemptTable).where(AttemptTable.id == known).values(size=size))

    def _attempt_row(self, context: Context, stage: Stage, frames: int, began: datetime) -> dict[str, Any]:
        return {
            "dag_run_id": self._run(context), "batch_id": self._batch(context), "stage": stage.value,
            "attempt": context.attempt, "began": began, "frames": frames, "size": 0, "error": "",
            "log": context.log[:500],
        }  # fmt: skip

    def settle(self, dag_run: str) -> None:
        """Take note that a DAG run is over: nothing of it will be tried again by it."""
        run = select(DagRunTable.id).where(DagRunTable.name == dag_run).scalar_subquery()
        query = (
            select(BatchTable.catalogue_id, OutcomeTable.frame)
            .join(BatchTable, BatchTable.id == OutcomeTable.batch_id)
            .where(OutcomeTable.dag_run_id == run, OutcomeTable.retrying)
        )
        with self.database.reading() as connection:
            left: dict[int, list[int]] = {}
            for catalogue, number in connection.execute(query):
                left.setdefault(catalogue, []).append(number)
        for catalogue, numbers in left.items():
            with self.database.alone(catalogue) as connection:
                this = connection.scalar(select(run))
                states = read_states(connection, catalogue, numbers)
                # Another run may have taken it up meanwhile.
                mine = {n: s for n, s in states.items() if s.retrying and s.dag_run_id == this}
                write_states(connection, catalogue, {n: (s, run_is_over(s)) for n, s in mine.items()})
        over_now = update(OutcomeTable).where(OutcomeTable.dag_run_id == run, OutcomeTable.retrying)
        with self.database.alone() as connection:
            connection.execute(over_now.values(retrying=False))

    def mismatches(self, context: Context, frames: Iterable[FrameId]) -> dict[FrameId, int]:
        """Checksum mismatches in a row of some frames; those without one are left out."""
        by_number = {number_of(frame): frame for frame in frames}
        with self.database.reading() as connection:
            states = read_states(connection, self._catalogue_of(context), list(by_number))
        return {by_number[number]: state.mismatches for number, state in states.items() if state.mismatches}

    # -- archive, mirror and catalogue against the ledger

    def folders(self, catalogue: int) -> dict[tuple[int, int, int], tuple[str, str]]:
        """Hashes of what archive and mirror listed last time, by run, rerun and camcol."""
        query = select(FolderTable).where(FolderTable.catalogue_id == catalogue)
        columns = (FolderTable.run, FolderTable.rerun, FolderTable.camcol, FolderTable.listing, FolderTable.mirror)
        with self.database.reading() as connection:
            rows = connection.execute(query.with_only_columns(*columns))
            return {(run, rerun, camcol): (listing, mirror) for run, rerun, camcol, listing, mirror in rows}

    def known_folders(self, catalogue: int) -> set[tuple[int, int, int]]:
        """Run, rerun and camcol of all folders of which frames are known."""
        found: set[tuple[int, int, int]] = set()
        last = -1
        with self.database.reading() as connection:
            while True:
                # From folder to folder along the key, not over all frames.
                query = select(func.min(FrameTable.frame)).where(
                    FrameTable.catalogue_id == catalogue, FrameTable.frame >= (last + 1) * 10**5
                )
                first = connection.scalar(query)
                if first is None:
                    return found
                last = first // 10**5
                found.add((last // 10**5, last // 10 % 10**4, last % 10))

    def reconcile(
        self, catalogue: int, release: Release, folder: tuple[int, int, int], listed: dict[FrameId, str],
        mirrored: dict[FrameId, int] | None, scope: Callable[[int], bool] | None,
        hashes: tuple[str, str] | None = None,
    ) -> tuple[Reconciled, list[FrameId]]:  # fmt: skip
        """Compare one folder of archive and mirror with what is known of it, and write down what is new.

        Parameters
        ----------
        catalogue : int
        release : Release
        folder : tuple of int
            Run, rerun, camcol.
        listed : dict of FrameId to str
            Frames that the archive lists, and what it says of them.
        mirrored : dict of FrameId to int or None
            Bytes of the objects in S3; None if it was not asked.
        scope : callable or None
            Whether a frame, by its key, was asked for: of others nothing is said. None: what is not listed is not
            taken for withdrawn.
        hashes : tuple of str, optional
            Of both listings, if they are of all that there is: kept for the next time.

        Returns
        -------
        Reconciled
        list of FrameId
            Frames that were listed before and are not any more.
        """
        now = _now()
        sizes = None if mirrored is None else {number_of(frame): size for frame, size in mirrored.items()}
        there = {number_of(frame): says for frame, says in listed.items()}
        found = dict.fromkeys(("new", "changed", "returned", "lost"), 0)
        gone: list[FrameId] = []
        with self.database.alone(catalogue) as connection:
            known = read_range(connection, catalogue, *folder_range(*folder))
            new_frames = {number: says for number, says in there.items() if number not in known}
            found["new"] = len(new_frames)
            write_new(connection, catalogue, new_frames, now)
            changes: dict[int, Change] = {}
            for number, old in known.items():
                if number not in there and (scope is None or not scope(number)):
                    continue
                in_mirror = None if sizes is None else sizes.get(number) == old.size
                new = compared(old, there.get(number), in_mirror=in_mirror, at=now)
                if new != old:
                    changes[number] = old, new
                    found["changed"] += new.changed_upstream and not old.changed_upstream
                    if new.withdrawn and not old.withdrawn:
                        gone.append(frame_of(number, release))
                    found["returned"] += old.withdrawn and not new.withdrawn
                    found["lost"] += new.lost and not old.lost
            write_states(connection, catalogue, changes)
            if hashes is None and (changes or new_frames):
                # A part of it is otherwise than when the whole was compared: the whole is to be compared again.
                hashes = ("", "")
            if hashes is not None:
                names = ("catalogue_id", "run", "rerun", "camcol", "listing", "mirror", "at")
                row = dict(zip(names, (catalogue, *folder, *hashes, now), strict=True))
                statement = upsert(connection, FolderTable).values(row)
                connection.execute(
                    statement.on_conflict_do_update(index_elements=names[:4], set_={n: row[n] for n in names[4:]})
                )
        return Reconciled(len(there), withdrawn=len(gone), **found), gone

    def known(self, catalogue: int, frames: Sequence[FrameId]) -> set[FrameId]:
        """Those of some frames that were in the archive at some time."""
        by_number = {number_of(frame): frame for frame in frames}
        with self.database.reading() as connection:
            states = read_states(connection, catalogue, list(by_number))
        never = (Outcome.NOT_IN_ARCHIVE, Stage.PLAN)
        return {by_number[n] for n, state in states.items() if (state.outcome, state.stage) != never}

    def published_batches(self, catalogue: int) -> set[str]:
        """Batches that hold frames of a catalogue, by what is known."""
        holds = select(FrameTable.frame).where(
            FrameTable.catalogue_id == catalogue, FrameTable.published_batch_id == BatchTable.id
        )
        with self.database.reading() as connection:
            query = select(BatchTable.name).where(BatchTable.catalogue_id == catalogue, holds.exists())
            return set(connection.scalars(query))

    def unpublish(self, catalogue: int, batch: str) -> int:
        """Take note that a batch is not in the catalogue any more; returns how many frames it held."""
        held = select(FrameTable.frame).join(BatchTable, BatchTable.id == FrameTable.published_batch_id)
        query = held.where(FrameTable.catalogue_id == catalogue, BatchTable.name == batch)
        now = _now()
        with self.database.alone(catalogue) as connection:
            states = read_states(connection, catalogue, list(connection.scalars(query)))
            write_states(connection, catalogue, {n: (old, not_published(old, now)) for n, old in states.items()})
        return len(states)

    def try_again(self, catalogue: int, selection: Selection) -> dict[FrameId, Outcome]:
        """Have frames of a selection that failed taken up again, whatever they failed of; what they failed of."""
        failed = and_(
            FrameTable.outcome.not_in([*_GOOD, Outcome.WAITING, Outcome.NOT_IN_ARCHIVE, Outcome.WITHDRAWN]),
            or_(~FrameTable.retrying, ~FrameTable.to_do),  # what is tried again anyway is left to who does it
        )
        now = _now()
        changed: dict[FrameId, Outcome] = {}
        with self.database.alone(catalogue) as connection:
            for low, high in run_ranges(selection):
                query = select(FrameTable.frame).where(
                    FrameTable.catalogue_id == catalogue, FrameTable.frame >= low, FrameTable.frame < high, failed
                )
                numbers = [n for n in connection.scalars(query) if in_selection(n, selection)]
                states = read_states(connection, catalogue, numbers)
                write_states(connection, catalogue, {n: (old, anew(old, now)) for n, old in states.items()})
                changed |= {frame_of(n, selection.release): Outcome(old.outcome) for n, old in states.items()}
        return changed

    def to_do(self, catalogue: int, selection: Selection) -> Iterator[ToDo]:
        """Frames of a selection that the next plan takes up, in their order; read a part at a time."""
        names = ("frame", "stage", "outcome", "retrying", "listed", "seen", "lost", "published_sha256")
        columns = [getattr(FrameTable, name) for name in names]
        holder = aliased(BatchTable)
        query = (
            select(*columns, holder.name, DagRunTable.name.label("dag_run"), BatchTable.name.label("batch"))
            .outerjoin(holder, holder.id == FrameTable.published_batch_id)
            .outerjoin(BatchTable, BatchTable.id == FrameTable.batch_id)
            .outerjoin(DagRunTable, DagRunTable.id == FrameTable.dag_run_id)
            .where(FrameTable.catalogue_id == catalogue, FrameTable.to_do)
            .order_by(FrameTable.frame)
            .limit(5000)
        )
        for low, high in run_ranges(selection):
            start = low
            while True:
                # Each part is a transaction of its own, so that a long plan keeps nobody waiting.
                with self.database.reading() as connection:
                    rows = connection.execute(query.where(FrameTable.frame >= start, FrameTable.frame < high)).all()
                for row in rows:
                    if in_selection(row.frame, selection):
                        yield ToDo(
                            frame_of(row.frame, selection.release), row.listed, row.published_sha256, row.name,
                            _why(row), _in_hand(row), row.dag_run, row.batch,
                        )  # fmt: skip
                if not rows:
                    break
                start = rows[-1].frame + 1

    # -- claims

    def published(self, archive: str, release: str, profile: str) -> dict[str, set[str]]:
        """Frames that are in a catalogue, as text, by the batch that brought them."""
        query = (
            select(BatchTable.name, FrameTable.frame)
            .join(BatchTable, BatchTable.id == FrameTable.published_batch_id)
            .join(CatalogueTable, CatalogueTable.id == FrameTable.catalogue_id)
            .where(CatalogueTable.archive == archive, CatalogueTable.release == release,
                   CatalogueTable.profile == profile)
        )  # fmt: skip
        found: dict[str, set[str]] = {}
        with self.database.reading() as connection:
            for batch, number in connection.execute(query):
                found.setdefault(batch, set()).add(str(frame_of(number, Release.parse(release))))
        return found

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold the catalogues while something in one is replaced: nobody publishes meanwhile."""
        with self.database.alone():
            yield

    @contextmanager
    def claiming(
        self, context: Context, store: str, frames: Iterable[FrameId], is_published: Callable[[str], bool]
    ) -> Iterator[dict[str, str]]:
        """Hold the catalogues while a batch is made part of one.

        Parameters
        ----------
        context : Context
        store : str
            URL of the staging store.
        frames : iterable of FrameId
        is_published : callable
            Whether another batch is really there: an interrupted run may have left a claim and no more.

        Yields
        ------
        dict of str to str
            Batches of the catalogue that hold some of the frames already, by frame. If there are none the frames are
            claimed for this batch, unless what is done meanwhile raises.
        """
        key = {"store": store, "archive": context.archive, "release": context.release, "profile": context.profile}
        names = [str(frame) for frame in frames]
        mine = [getattr(ClaimTable, name) == value for name, value in key.items()]
        with self.database.alone() as connection:
            others: dict[str, str] = {}
            for chunk in chunks(names):
                held = select(ClaimTable.frame, ClaimTable.batch).where(
                    *mine, ClaimTable.frame.in_(chunk), ClaimTable.batch != context.batch
                )
                others |= {frame: batch for frame, batch in connection.execute(held)}
            gone = {batch for batch in set(others.values()) if not is_published(batch)}
            others = {frame: batch for frame, batch in others.items() if batch not in gone}
            if not others:
                connection.execute(delete(ClaimTable).where(*mine, ClaimTable.batch.in_(gone)))
                rows = [key | {"frame": name, "batch": context.batch} for name in names]
                if rows:
                    connection.execute(upsert(connection, ClaimTable).on_conflict_do_nothing(), rows)
            yield others

    def claimed(self, context: Context, store: str) -> set[str]:
        """Batches that hold claims of the catalogue that a batch is meant for; may be asked while claiming."""
        query = select(ClaimTable.batch).where(
            ClaimTable.store == store,
            ClaimTable.archive == context.archive,
            ClaimTable.release == context.release,
            ClaimTable.profile == context.profile,
        )
        with self.database.reading() as connection:
            return set(connection.scalars(query.distinct()))

    # -- what happened

    def outcomes(self, dag_run: str, stage: Stage | None = None) -> list[OutcomeRow]:
        """All outcomes of one DAG run, by frame and time."""
        query = _outcome_rows().where(DagRunTable.name == dag_run)
        return self._read_outcomes(query if stage is None else query.where(OutcomeTable.stage == stage))

    def problems(self, dag_run: str, most: int, batch: str | None = None) -> list[OutcomeRow]:
        """Outcomes of one DAG run, or of one batch of it, that are not good, by frame; so many at most."""
        query = _outcome_rows().where(DagRunTable.name == dag_run, OutcomeTable.outcome.not_in(_GOOD))
        if batch is not None:
            query = query.where(BatchTable.name == batch)
        return self._read_outcomes(query.limit(most))

    def stuck(self, dag_run: str, most: int) -> tuple[int, list[OutcomeRow]]:
        """Frames that came well through a stage of a DAG run and have no outcome in the next one.

        Returns
        -------
        int
            How many there are.
        list of OutcomeRow
            Their last outcomes, so many at most.
        """
        further, its = aliased(OutcomeTable), aliased(BatchTable)
        count, rows = 0, list[OutcomeRow]()
        for stage, following in pairwise(Stage):
            # In the same catalogue: a run that is processed again may be asked for another archive's frames.
            went_on = select(further.frame).join(its, its.id == further.batch_id).where(
                further.frame == OutcomeTable.frame,
                further.dag_run_id == OutcomeTable.dag_run_id,
                its.catalogue_id == BatchTable.catalogue_id,
                further.stage.in_([s.value for s in _STAGES[_STAGES.index(following) :]]),
            )  # fmt: skip
            query = _outcome_rows().where(
                DagRunTable.name == dag_run, OutcomeTable.stage == stage.value, OutcomeTable.outcome.in_(_GOES_ON),
                ~went_on.exists(),
            )  # fmt: skip
            with self.database.reading() as connection:
                found = connection.scalar(select(func.count()).select_from(query.subquery())) or 0
            count += found
            rows += self._read_outcomes(query.limit(most - len(rows))) if found and len(rows) < most else []
        return count, rows

    def history(self, archive: str, frame: FrameId) -> list[OutcomeRow]:
        """All that is known of what happened to a frame, in any catalogue, the oldest first."""
        query = _outcome_rows().where(
            CatalogueTable.archive == archive, CatalogueTable.release == str(frame.release),
            OutcomeTable.frame == number_of(frame),
        )  # fmt: skip
        return self._read_outcomes(query)

    def _read_outcomes(self, query: Select[Any]) -> list[OutcomeRow]:
        with self.database.reading() as connection:
            rows = connection.execute(query.order_by(OutcomeTable.frame, OutcomeTable.at)).mappings()
            return [_outcome_row(row) for row in rows]

    def progress(self, dag_runs: Sequence[str]) -> list[tuple[str, str, int, int]]:
        """Frames with an outcome, as (stage, outcome, frames, bytes), over some DAG runs."""
        query = (
            select(OutcomeTable.stage, OutcomeTable.outcome, func.count(), func.sum(OutcomeTable.size))
            .join(DagRunTable, DagRunTable.id == OutcomeTable.dag_run_id)
            .where(DagRunTable.name.in_(dag_runs))
            .group_by(OutcomeTable.stage, OutcomeTable.outcome)
        )
        with self.database.reading() as connection:
            rows = connection.execute(query)
            return [(stage, outcome, frames, int(size or 0)) for stage, outcome, frames, size in rows]

    def figures(self, dag_run: str, batch: str | None = None) -> list[dict[str, Any]]:
        """Sums over the outcomes of one DAG run, or of one batch of it, by stage, outcome and band.

        `frames`, `again`, `own` (frames that this run worked on itself), `size` (bytes of the same), `seconds`,
        `checks`, `failed_checks`, `sources`.
        """
        found = and_(OutcomeTable.again, func.coalesce(OutcomeTable.seconds, 0) == 0)
        own = case((found, 0), else_=OutcomeTable.size)
        band = OutcomeTable.frame % 10
        query = (
            select(
                OutcomeTable.stage, OutcomeTable.outcome, band.label("number"), func.count().label("frames"),
                func.sum(case((OutcomeTable.again, 1), else_=0)).label("again"),
                func.sum(case((found, 0), else_=1)).label("own"),
                func.coalesce(func.sum(own), 0).label("size"),
                func.coalesce(func.sum(OutcomeTable.seconds), 0.0).label("seconds"),
                func.sum(OutcomeTable.checks).label("checks"),
                func.sum(OutcomeTable.failed_checks).label("failed_checks"),
                func.coalesce(func.sum(OutcomeTable.sources), 0).label("sources"),
            )
            .join(DagRunTable, DagRunTable.id == OutcomeTable.dag_run_id)
            .where(DagRunTable.name == dag_run)
            .group_by(OutcomeTable.stage, OutcomeTable.outcome, band)
        )  # fmt: skip
        if batch is not None:
            query = query.join(BatchTable, BatchTable.id == OutcomeTable.batch_id).where(BatchTable.name == batch)
        with self.database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [dict(row) | {"band": band_of(row["number"])} for row in rows]

    def published_by_run(self, dag_run: str) -> list[tuple[str, str, int, int, int]]:
        """What a DAG run published anew, as (archive, release, imaging run, frames, sources)."""
        run: Any = OutcomeTable.frame // 10**10
        query = (
            select(CatalogueTable.archive, CatalogueTable.release, run.label("run"), func.count(),
                   func.coalesce(func.sum(OutcomeTable.sources), 0))
            .select_from(OutcomeTable)
            .join(DagRunTable, DagRunTable.id == OutcomeTable.dag_run_id)
            .join(BatchTable, BatchTable.id == OutcomeTable.batch_id)
            .join(CatalogueTable, CatalogueTable.id == BatchTable.catalogue_id)
            .where(DagRunTable.name == dag_run, OutcomeTable.stage == Stage.PUBLISH.value,
                   OutcomeTable.outcome.in_(_GOES_ON))
            .group_by(CatalogueTable.archive, CatalogueTable.release, "run")
            .order_by(CatalogueTable.archive, CatalogueTable.release, "run")
        )  # fmt: skip
        with self.database.reading() as connection:
            return [(a, r, n, f, int(s)) for a, r, n, f, s in connection.execute(query)]

    def attempts(self, dag_run: str, batch: str | None = None) -> list[StageRow]:
        """All attempts of stages of one DAG run, or on one batch of it, in the order in which they began."""
        query = (
            select(
                BatchTable.name.label("batch"), AttemptTable.stage, DagRunTable.name.label("dag_run"),
                AttemptTable.attempt, AttemptTable.began, AttemptTable.ended, AttemptTable.frames, AttemptTable.size,
                AttemptTable.error, AttemptTable.log,
            )
            .join(BatchTable, BatchTable.id == AttemptTable.batch_id)
            .join(DagRunTable, DagRunTable.id == AttemptTable.dag_run_id)
            .where(DagRunTable.name == dag_run)
            .order_by(AttemptTable.began, AttemptTable.id)
        )  # fmt: skip
        if batch is not None:
            query = query.where(BatchTable.name == batch)
        with self.database.reading() as connection:
            return [StageRow(**row) for row in connection.execute(query).mappings()]

    def rates(self, archive: str, release: str) -> dict[Stage, Rate]:
        """How fast each stage has been for a release: frames and bytes of attempts that ended well, and their time."""
        ended = (
            select(AttemptTable.stage, AttemptTable.frames, AttemptTable.size, AttemptTable.began, AttemptTable.ended)
            .join(BatchTable, BatchTable.id == AttemptTable.batch_id)
            .join(CatalogueTable, CatalogueTable.id == BatchTable.catalogue_id)
            .where(CatalogueTable.archive == archive, CatalogueTable.release == release, AttemptTable.error == "",
                   AttemptTable.ended.is_not(None), AttemptTable.frames > 0)
            .order_by(AttemptTable.id.desc())
            .limit(5000)
        )  # fmt: skip
        found: dict[Stage, Rate] = {}
        with self.database.reading() as connection:
            for stage, frames, size, began, end in connection.execute(ended):
                old = found.get(Stage(stage), Rate(0, 0, 0.0))
                seconds = old.seconds + ((end or began) - began).total_seconds()
                found[Stage(stage)] = Rate(old.frames + frames, old.size + size, seconds)
        return found


def _now() -> datetime:
    # Both databases then store the same: UTC without a zone.
    return datetime.now(UTC).replace(tzinfo=None)


def _text(text: str, most: int) -> str:
    # What a damaged file holds may be quoted in a reason: PostgreSQL takes no zero bytes, neither takes half a letter.
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")[:most]


def _in_hand(row: Any) -> bool:
    return bool(row.retrying) or (Outcome(row.outcome).good and row.stage != Stage.PUBLISH)


def _why(row: Any) -> str:
    outcome = Outcome(row.outcome)
    if row.lost:
        return "lost"
    if row.seen != row.listed and differ(row.seen, row.listed):
        return "changed"
    if outcome is Outcome.WAITING:
        return "new"
    return "unfinished" if outcome.good else "failed"


def _outcome(run: int, batch: int, stage: Stage, number: int, record: Record, at: datetime) -> dict[str, Any]:
    return {
        "dag_run_id": run, "batch_id": batch, "stage": stage.value, "frame": number, "outcome": record.outcome.value,
        "reason": _text(record.reason, 2000), "attempts": 1, "retrying": record.retrying, "again": record.again,
        "size": record.size, "sha256": record.sha256, "sources": record.sources, "seconds": record.seconds,
        "checks": record.checks, "failed_checks": record.failed_checks, "at": at,
    }  # fmt: skip


def _keep_newest(statement: Any) -> Any:
    new = statement.excluded
    # Work found done says nothing new: sizes, times and checks of the attempt that did it stay.
    stays = and_(new["again"], or_(*(OutcomeTable.outcome == good for good in _GOOD)))
    changed: dict[str, Any] = {
        name: case((stays, getattr(OutcomeTable, name)), else_=new[name])
        for name in ("outcome", "reason", "size", "sha256", "sources", "seconds", "checks", "failed_checks")
    }
    changed |= {"at": new["at"], "again": new["again"], "retrying": new["retrying"]}
    changed["attempts"] = OutcomeTable.attempts + 1
    return statement.on_conflict_do_update(index_elements=["dag_run_id", "batch_id", "stage", "frame"], set_=changed)


def _forget_later_stages(
    connection: Connection, run: int, batch: int, stage: Stage, records: dict[int, Record]
) -> None:
    # Tried again, a frame stopped earlier than before: what later stages said of it in this run does not hold.
    # Except that its rows are in the catalogue, if they are.
    later = [s.value for s in _STAGES[_STAGES.index(stage) + 1 :]]
    stopped = [number for number, record in records.items() if not record.outcome.goes_on]
    in_catalogue = select(FrameTable.frame).where(
        FrameTable.frame == OutcomeTable.frame, FrameTable.published_batch_id == batch
    )
    for part in chunks(stopped):
        connection.execute(
            delete(OutcomeTable).where(
                OutcomeTable.dag_run_id == run,
                OutcomeTable.batch_id == batch,
                OutcomeTable.stage.in_(later),
                OutcomeTable.frame.in_(part),
                ~and_(OutcomeTable.stage == Stage.PUBLISH.value, in_catalogue.exists()),
            )
        )


def _add_checks(
    connection: Connection, catalogue: int, stage: Stage, records: Sequence[Record], healed: int, at: datetime
) -> None:
    sums = {
        "checks": sum(one.checks for one in records), "failed": sum(one.failed_checks for one in records),
        "healed": healed,
    }  # fmt: skip
    if any(sums.values()):
        statement = upsert(connection, CheckedTable).values(
            {"catalogue_id": catalogue, "day": at.date(), "stage": stage.value} | sums
        )
        added = {name: getattr(CheckedTable, name) + statement.excluded[name] for name in sums}
        connection.execute(statement.on_conflict_do_update(index_elements=("catalogue_id", "day", "stage"), set_=added))


def _mirror_is_another(connection: Connection, catalogue: int, records: dict[int, Record]) -> None:
    # The mirror is to be compared again, even if it should be found as it was before: then it has lost what was stored.
    stored = {number // 10**5 for number, record in records.items() if record.outcome.good and not record.again}
    for place in stored:
        connection.execute(
            update(FolderTable)
            .where(
                FolderTable.catalogue_id == catalogue, FolderTable.run == place // 10**5,
                FolderTable.rerun == place // 10 % 10**4, FolderTable.camcol == place % 10,
            )
            .values(mirror="")
        )  # fmt: skip


def _outcome_rows() -> Select[Any]:
    return (
        select(
            BatchTable.name.label("batch"), CatalogueTable.archive, CatalogueTable.release, CatalogueTable.profile,
            DagRunTable.name.label("dag_run"), *OutcomeTable.__table__.c,
        )
        .join(BatchTable, BatchTable.id == OutcomeTable.batch_id)
        .join(CatalogueTable, CatalogueTable.id == BatchTable.catalogue_id)
        .join(DagRunTable, DagRunTable.id == OutcomeTable.dag_run_id)
    )  # fmt: skip


def _outcome_row(row: Any) -> OutcomeRow:
    names = ("batch", "stage", "dag_run", "archive", "release", "profile", "outcome", "reason", "attempts", "retrying",
             "again", "size", "sha256", "sources", "seconds", "checks", "failed_checks", "at")  # fmt: skip
    frame = frame_of(row["frame"], Release.parse(row["release"]))
    return OutcomeRow(frame=str(frame), band=frame.band, **{name: row[name] for name in names})

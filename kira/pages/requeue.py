"""What a button asks Airflow for: an ingestion of the frames that a cause keeps.

Nothing is changed here: the browser of whoever presses the button sends the request to Airflow's own REST API, which
asks for the permission. Another site cannot press it: Airflow's cookie is `SameSite=Lax`, so a POST from elsewhere goes
without it, JSON is no form, and `frame-ancestors` keeps our pages out of other sites' frames.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kira.errors import InvalidInput, StorageError
from kira.ledger import Ledger
from kira.ledger.numbers import band_of, camcol_of, field_of, run_of
from kira.ledger.problems import Cause, Column, Kind, columns, numbers, shares, taken_up, tallied_places
from kira.ledger.status import Known, tallied
from kira.pages.cover import ALL, Box, cover
from kira.sdss import Release, Selection
from kira.stages.plan import report_path
from kira.storage import Store

DAG = "sdss_ingest"
MOST_RUNS = 3
"""DAG runs that one button starts, at most; Airflow works on four at once."""
MOST_EXACT = 5000
"""Up to so many frames each is looked at; of more, whole camera columns are asked for."""
MOST_COUNTED = 100_000
"""Frames that are counted one by one to say how many a selection covers; beyond, it is said that they are no more."""


@dataclass(frozen=True)
class Asked:
    """One DAG run that will be asked for.

    Parameters
    ----------
    selection : Selection
    conf : dict
        Of the DAG run.
    covered : int
        Frames in the selection that the ledger knows.
    taken_up : int
        Of these, the ones that the run will work on, of whatever cause they are.
    at_most : bool
        Whether both numbers are upper bounds.
    """

    selection: Selection
    conf: dict[str, Any]
    covered: int
    taken_up: int
    at_most: bool

    @property
    def body(self) -> dict[str, Any]:
        """Of the request."""
        return {"logical_date": None, "conf": self.conf}


@dataclass(frozen=True)
class Requeue:
    """All that will be asked for.

    Parameters
    ----------
    runs : tuple of Asked
    connection : str
        Airflow connection of the archive.
    known : bool
        Whether an earlier run used that connection for it; else it is the one that is called as is the custom.
    """

    runs: tuple[Asked, ...]
    connection: str
    known: bool


def can_requeue(cause: Cause) -> bool:
    """Whether an ingestion can do something about it."""
    return cause.kind in (Kind.FAILED, Kind.UNFINISHED)


def requeue(ledger: Ledger, store: Store, known: Known, cause: Cause, dag_run: str | None = None) -> Requeue:
    """What to ask Airflow for so that frames are taken up again.

    Parameters
    ----------
    ledger : Ledger
    store : Store
    known : Known
    cause : Cause
    dag_run : str, optional
        Only frames that this DAG run had last.

    Raises
    ------
    InvalidInput
        If an ingestion can do nothing for them, or this version of Kira would put them into another catalogue.
    """
    if not can_requeue(cause):
        raise InvalidInput(f"There is nothing to requeue: {cause.advice}.")
    profile = _profile(known)
    found = numbers(ledger, known.id, cause, dag_run=dag_run, most=MOST_EXACT + 1)
    if not found:
        raise InvalidInput("No frame is kept by that cause any more: load the page again.")
    if len(found) > MOST_EXACT:
        places = [(run, camcol, ALL, band) for run, camcol, band in tallied_places(ledger, known.id, cause)]
    else:
        places = [(run_of(n), camcol_of(n), field_of(n), band_of(n)) for n in found]
    request = _request(ledger, store, known, cause, dag_run)
    conf = {"again": True, "profile": profile, "release": known.release, "archive": request.get("archive", "")}
    conf["archive"] = conf["archive"] or _by_custom(known.archive)
    if request.get("field_list"):
        conf["field_list"] = request["field_list"]
    all_of_them = columns(ledger, known.id)
    return Requeue(
        tuple(_asked(ledger, known, box, conf, all_of_them) for box in cover(places, MOST_RUNS)), conf["archive"],
        bool(request.get("archive")),
    )  # fmt: skip


def _profile(known: Known) -> str:
    from kira.extraction import Profile  # SEP and all: where the button is pressed, and nowhere else

    name = known.profile.partition("-")[0]
    try:
        now = Profile.named(name).slug
    except InvalidInput:
        now = "none of that name"
    if now != known.profile:
        raise InvalidInput(
            f"The catalogue {known.archive} {known.release} was made with the parameters {known.profile}, and this "
            f"version of Kira has {now}: an ingestion would fill another catalogue."
        )
    return name


def _by_custom(archive: str) -> str:
    return "kira_archive" if archive == "sdss" else f"kira_archive_{archive}"


def _request(ledger: Ledger, store: Store, known: Known, cause: Cause, dag_run: str | None) -> dict[str, Any]:
    """What a run that had the frames was asked for; empty where none has left word."""
    names = [dag_run] if dag_run else [share.dag_run for share in shares(ledger, known.id, cause, 5)]
    for name in names:
        if found := request_of(store, known.archive, name).get("request"):
            return dict(found)
    return {}


def request_of(store: Store, archive: str, dag_run: str) -> dict[str, Any]:
    """What a DAG run left of its request and its versions; empty for runs of older versions of Kira."""
    try:
        found = json.loads(store.read(report_path(archive, dag_run, "request")))
    except (StorageError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _asked(ledger: Ledger, known: Known, box: Box, conf: dict[str, Any], all_of_them: Sequence[Column]) -> Asked:
    selection = box.selection(Release.parse(known.release))
    texts = {name: "" if getattr(selection, name).everything else str(getattr(selection, name))
             for name in ("runs", "camcols", "fields")}  # fmt: skip
    conf = conf | texts | {"bands": "".join(selection.bands)}
    in_runs = [one for one in all_of_them if one.run in box.runs]
    if selection.fields.everything or sum(one.frames for one in in_runs) > MOST_COUNTED:
        rows = [one for one in in_runs if one.camcol in box.camcols and one.band in box.bands]
        return Asked(
            selection, conf, sum(one.frames for one in rows), sum(one.frames for one in rows if one.taken_up),
            not selection.fields.everything,
        )  # fmt: skip
    found = tallied(ledger, known.id, selection)
    worked_on = sum(row.frames for row in found if taken_up(row.outcome, row.to_do, row.withdrawn))
    return Asked(selection, conf, sum(row.frames for row in found), worked_on, at_most=False)

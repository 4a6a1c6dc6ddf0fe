"""The record that each run keeps of itself, beside its report on the staging store."""

import logging
import uuid
from typing import Any

from kira.errors import InvalidInput, KiraError
from kira.records.record import RECORD, Record, record_files
from kira.sdss.quoting import one_line
from kira.stages.plan import report_path
from kira.storage import Store

log = logging.getLogger(__name__)


def record_folder(archive: str, dag_run: str) -> str:
    """Where a run's record is kept, below the staging root."""
    return report_path(archive, dag_run, "record").removesuffix(".json")


def keep_record(store: Store, archive: str, dag_run: str) -> dict[str, Any]:
    """Make the record of a run and leave it beside the run's report; one of before gives way to it once it is whole.

    A record is worth a lot, and less than the run: whatever goes wrong is told, and nothing is raised.

    Parameters
    ----------
    store : Store
        The staging store.
    archive : str
        Name of the archive.
    dag_run : str

    Returns
    -------
    dict
        For the run's report: `place`, the record's URI, or an empty one and in `problem` a sentence that says why.
    """
    folder = record_folder(archive, dag_run)
    aside = f"{folder}-{uuid.uuid4().hex}"
    try:
        for path, content in record_files(store, archive, dag_run):
            store.write(f"{aside}/{path}", content)
        _put_in_place(store, aside, folder)
        _forget_others(store, folder)
    except Exception as error:  # the catalogue is published, and the run did what it should
        known = isinstance(error, (KiraError, OSError))
        log.log(
            logging.WARNING if known else logging.ERROR, "the run's record could not be written", exc_info=not known
        )
        why = one_line(str(error)) if known else f"{type(error).__name__}: {one_line(str(error))}"
        _forget(store, aside)
        problem = f"The run's record could not be written: {why.rstrip('.')}. Make it with kira record --anew."
        log.warning("%s", problem)
        return {"place": "", "problem": problem}
    place = store.uri(folder)
    log.info("The run's record is in %s", place)
    return {"place": place, "problem": ""}


def _put_in_place(store: Store, aside: str, folder: str) -> None:
    before = f"{folder}-{uuid.uuid4().hex}"
    if store.exists(folder):
        store.rename(folder, before)
    try:
        store.rename(aside, folder)
    except BaseException:
        if store.exists(before):
            store.rename(before, folder)
        raise


def _forget(store: Store, aside: str) -> None:
    try:
        store.delete(aside)
    except (KiraError, OSError) as error:
        log.warning("%s is left behind, and may be removed: %s", aside, error)


def _forget_others(store: Store, folder: str) -> None:
    # The record of before, and what a task left that was killed here; a run has one such task at a time.
    parent, _, name = folder.rpartition("/")
    for entry in store.listing(parent):
        if entry.name.startswith(f"{name}-"):
            store.delete(f"{parent}/{entry.name}")


def kept_folder(store: Store, dag_run: str, archive: str = "") -> str | None:
    """Folder of the record that a run has kept; None where there is none.

    Parameters
    ----------
    store : Store
        The staging store.
    dag_run : str
    archive : str, optional
        By default all that the store has anything of.

    Raises
    ------
    InvalidInput
        If runs of that name have one for several archives.
    """
    archives = [archive] if archive else [entry.name for entry in store.top() if entry.is_folder]
    found = [one for one in archives if store.exists(f"{record_folder(one, dag_run)}/{RECORD}")]
    if len(found) > 1:
        raise InvalidInput(
            f"DAG run {one_line(dag_run)} has a record for each of {', '.join(found)}: give the folder of one, such as "
            f"{store.uri(record_folder(found[0], dag_run))}."
        )
    return record_folder(found[0], dag_run) if found else None


def kept_files(store: Store, folder: str) -> dict[str, bytes]:
    """All files of a record that was kept, by their paths in it."""
    return {path.removeprefix(f"{folder}/"): store.read(path) for path, _ in store.walk(folder)}


def kept_record(store: Store, folder: str) -> Record:
    """Read a record that was kept; InvalidInput if it is none."""
    return Record.load(lambda path: store.read(f"{folder}/{path}"), store.uri(folder))

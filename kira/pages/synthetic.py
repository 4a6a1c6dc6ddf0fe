"""Whether what a page shows was simulated: then it has to say so."""

import logging
from collections.abc import Sequence
from time import monotonic

import pyarrow.parquet as pq

from kira.catalog.parts import damage
from kira.errors import KiraError
from kira.ledger.status import Known
from kira.pages.data import Data, Remembered
from kira.pages.watching import Watched
from kira.storage import catalogue_folder

log = logging.getLogger(__name__)

SECONDS, WAIT = 10.0, 0.3
"""How long an answer is remembered, and how long a page waits for it."""


def is_synthetic(data: Data, known: Known) -> bool:
    """Whether a catalogue is of frames that were simulated; see `synthetic`."""
    return bool(synthetic(data, [known]))


def synthetic(data: Data, known: Sequence[Known]) -> set[int]:
    """Which catalogues are of synthetic frames, as far as it is known by now: a dead store must not delay the page.

    Returns
    -------
    set of int
        Their ids.
    """
    asked = {one.id: _asked(data, one) for one in known}
    for question in asked.values():
        question.begin()
    found, until = set[int](), monotonic() + WAIT
    for number, question in asked.items():
        try:
            if question(max(0.0, until - monotonic())):
                found.add(number)
        except (KiraError, TimeoutError) as error:
            log.info("Whether catalogue %d is of synthetic frames is not known: %s", number, error or "no answer yet")
    return found


def _asked(data: Data, known: Known) -> Watched[bool]:
    name = f"synthetic {known.id}"
    if name not in data.remembered:
        made = Watched(lambda: _look(data, known), SECONDS, WAIT)
        data.remembered[name] = Remembered(lambda: made, float("inf"))
    watched: Watched[bool] = data.remembered[name]()
    return watched


def _look(data: Data, known: Known) -> bool:
    """By the metadata of a published part; False where nothing is published."""
    folder = catalogue_folder(known.archive, known.release, known.profile)
    for batch in data.store.listing(folder):
        if not batch.name.startswith("batch="):
            continue
        for file in data.store.listing(f"{folder}/{batch.name}"):
            if file.name.endswith(".parquet") and file.name[0] not in "._":
                path = f"{folder}/{batch.name}/{file.name}"
                with data.store.open(path) as part, damage(data.store.uri(path)):
                    return (pq.read_schema(part).metadata or {}).get(b"synthetic") == b"yes"
    return False

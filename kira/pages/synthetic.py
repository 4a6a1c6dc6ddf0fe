"""Whether what a page shows was simulated: then it has to say so."""

from kira.errors import KiraError
from kira.ledger import Ledger
from kira.ledger.runs import newest_published
from kira.ledger.status import Known
from kira.pages.data import Data, Remembered
from kira.stages.extraction import read_outcomes
from kira.storage import Store, catalogue_folder

_SECONDS = 600.0


def is_synthetic(data: Data, known: Known) -> bool:
    """Whether the batch of a catalogue that was published last holds frames that were simulated."""
    name = f"synthetic {known.id}"
    if name not in data.remembered:
        data.remembered[name] = Remembered(lambda: _look(data.ledger, data.store, known), _SECONDS)
    return bool(data.remembered[name]())


def _look(ledger: Ledger, store: Store, known: Known) -> bool:
    batch = newest_published(ledger, known.id)
    if batch is None:
        return False
    folder = f"{catalogue_folder(known.archive, known.release, known.profile)}/batch={batch}"
    try:
        return any(one.synthetic for one in read_outcomes(store, folder))
    except (KiraError, ValueError, TypeError):
        return False  # a store that is away: what the page shows otherwise is of the ledger

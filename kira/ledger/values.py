"""What is told to the ledger, and what it answers: plain values."""

from dataclasses import dataclass
from datetime import datetime

from kira.ledger.outcomes import Outcome
from kira.sdss import FrameId


@dataclass(frozen=True)
class Context:
    """What all outcomes of one batch have in common.

    Parameters
    ----------
    batch, archive, release, profile : str
        See `kira.storage.Manifest`.
    dag_run : str
        Id of the Airflow DAG run that does the work.
    attempt : int
        Try number of the Airflow task.
    dag : str
        Id of the DAG.
    log : str
        Where the log of the Airflow task can be read.
    """

    batch: str
    archive: str
    release: str
    profile: str
    dag_run: str
    attempt: int = 1
    dag: str = "sdss_ingest"
    log: str = ""


@dataclass(frozen=True)
class Record:
    """The outcome of one frame in one stage.

    Parameters
    ----------
    frame : FrameId
    outcome : Outcome
    reason : str
        A sentence, if it is not good.
    again : bool
        Whether the stage found its work done by an earlier attempt or ingestion.
    size : int, optional
        Bytes that the stage handled.
    sha256 : str, optional
        Of those bytes, hex.
    sources : int, optional
    seconds : float, optional
    checks, failed_checks : int
        Integrity checks made on the frame in this stage.
    retrying : bool
        Whether the DAG run will try again.
    listed : str, optional
        What the archive's listing said of the file that was fetched.
    """

    frame: FrameId
    outcome: Outcome
    reason: str = ""
    again: bool = False
    size: int | None = None
    sha256: str | None = None
    sources: int | None = None
    seconds: float | None = None
    checks: int = 0
    failed_checks: int = 0
    retrying: bool = False
    listed: str | None = None


@dataclass(frozen=True)
class OutcomeRow:
    """The outcome of one frame in one stage for one DAG run, as it is kept; see `Record`.

    Parameters
    ----------
    batch, frame, stage, dag_run, archive, release, band, profile : str
    outcome, reason : str
    attempts : int
        How often it was recorded in this DAG run.
    at : datetime
        When it was recorded, UTC.
    """

    batch: str
    frame: str
    stage: str
    dag_run: str
    archive: str
    release: str
    band: str
    profile: str
    outcome: str
    reason: str
    attempts: int
    retrying: bool
    again: bool
    size: int | None
    sha256: str | None
    sources: int | None
    seconds: float | None
    checks: int
    failed_checks: int
    at: datetime


@dataclass(frozen=True)
class StageRow:
    """One attempt of one stage on one batch; `ended` is None while it is at work, and for ever if it was killed."""

    batch: str
    stage: str
    dag_run: str
    attempt: int
    began: datetime
    ended: datetime | None
    frames: int
    size: int
    error: str
    log: str


@dataclass
class Work:
    """What an attempt has done so far; kept with it when it ends.

    Parameters
    ----------
    size : int
        Bytes that it handled.
    """

    size: int = 0


@dataclass(frozen=True)
class Rate:
    """How fast a stage has been.

    Parameters
    ----------
    frames, size : int
        Frames and bytes of attempts that ended well.
    seconds : float
        Their wall-clock time, summed over batches.
    """

    frames: int
    size: int
    seconds: float


@dataclass(frozen=True)
class Reconciled:
    """What a comparison of archive, ledger and mirror found.

    Parameters
    ----------
    listed : int
        Frames that the archive has.
    new, changed, withdrawn, returned, lost : int
        Frames that were not known; whose size, date or checksum is another; that are not listed any more; that are
        listed again; that the mirror has lost.
    """

    listed: int = 0
    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    returned: int = 0
    lost: int = 0

    def __add__(self, other: "Reconciled") -> "Reconciled":
        return Reconciled(*(getattr(self, n) + getattr(other, n) for n in self.__dataclass_fields__))


@dataclass(frozen=True)
class ToDo:
    """A frame that the next plan takes up, and why.

    Parameters
    ----------
    frame : FrameId
    listed : str
        What the archive's listing says of it.
    published_sha256 : str or None
        Of the archive's file that its rows in the catalogue were made from; None if it is not in the catalogue.
    published_batch : str or None
        The batch by which it is in the catalogue.
    why : {"new", "unfinished", "failed", "changed", "lost"}
    in_hand : bool
        Whether its DAG run would go on with it, if that is still at work.
    dag_run, batch : str or None
        The DAG run and the batch that have it, or had it last.
    """

    frame: FrameId
    listed: str
    published_sha256: str | None
    published_batch: str | None
    why: str
    in_hand: bool
    dag_run: str | None
    batch: str | None

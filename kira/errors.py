"""The few kinds of failure that the stages tell apart.

What went wrong decides what happens next, so the kind is the type and the sentence is for a person: what happened,
to which frame, in which stage, and what to do.
"""


class KiraError(Exception):
    """Base of all errors that Kira raises on purpose; its text is a sentence for a person."""


class InvalidInput(KiraError, ValueError):
    """Something from outside (an id, a selection, a URL, a setting) is not of its form; nothing was touched."""


class NotInArchive(KiraError):
    """The archive answered, and does not have the file. Asking again at once will not help."""


class ArchiveUnavailable(KiraError):
    """The archive did not answer properly (5xx, time-out, connection lost) after all tries. Later may help."""


class CorruptUpstream(KiraError):
    """The archive's own copy is damaged: fetched again, it came out the same and is not a whole frame."""


class ChecksumMismatch(KiraError):
    """Bytes read back are not the bytes that were written: storage or transport damaged them."""


class BadFrame(KiraError):
    """A file is a whole FITS file but not a frame that can be used (missing HDU, wrong shape, no WCS)."""


class ExtractionFailed(KiraError):
    """A usable frame could not be measured (SEP's buffers are too small for it); the text says what ran over."""


class OutOfMemory(ExtractionFailed):
    """A frame needs more memory than a worker may have, also when it is alone in its task."""


class TimedOut(ExtractionFailed):
    """A frame took longer than it may, also when it was alone in its task."""


class WorkerDied(ExtractionFailed):
    """Spark's Python worker died at a frame, also when the frame was alone: killed, or a crash in compiled code."""


class Quarantined(ChecksumMismatch):
    """Bytes of a frame had another checksum than they should have so often that they are not fetched again."""


class StorageError(KiraError):
    """S3, HDFS or a file system refused or lost an operation."""


class LedgerUnavailable(StorageError):
    """The ledger's database refused or lost an operation; what was done is found done at the next try."""


class ValidationFailed(KiraError):
    """A batch is not fit to be published; the text says which check failed and on what."""


class SparkTaskFailed(KiraError):
    """Spark gave up a task of a batch after all its attempts; the text says at what."""


class SparkDriverFailed(KiraError):
    """The driver of a Spark job ended with an error of its own; the text says which."""


class SparkDriverKilled(KiraError):
    """The driver of a Spark job ended without a word: it was killed."""


class BatchGivenUp(KiraError):
    """A batch has used up its budget of attempts; a person has to look before it is tried again."""


class StackError(KiraError):
    """Part of the local stack is missing, could not be started, or did not come up."""

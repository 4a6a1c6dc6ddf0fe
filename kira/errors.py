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


class StorageError(KiraError):
    """S3, HDFS or a file system refused or lost an operation."""


class ValidationFailed(KiraError):
    """A batch is not fit to be published; the text says which check failed and on what."""


class StackError(KiraError):
    """Part of the local stack is missing, could not be started, or did not come up."""

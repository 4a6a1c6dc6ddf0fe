"""What can happen to a frame, in which stage: the documentation is the type."""

from enum import StrEnum


class Stage(StrEnum):
    """The stages, in the order in which a frame goes through them."""

    PLAN = "plan"
    """Selection minus what is done, cut into batches."""
    MIRROR = "mirror"
    """Archive to S3."""
    STAGE = "stage"
    """S3 to HDFS, or to a POSIX file system."""
    EXTRACT = "extract"
    """SEP, in a Spark job."""
    VALIDATE = "validate"
    """Counts, schema, ranges, duplicates."""
    PUBLISH = "publish"
    """One rename into the catalogue."""


class Outcome(StrEnum):
    """What happened to one frame in one stage. A frame has exactly one for every stage that it reached."""

    WAITING = "waiting"
    """The archive has it, and no plan has taken it up yet."""
    OK = "ok"
    """The stage did its work."""
    OK_EMPTY = "ok_empty"
    """Extraction worked, and there is no source in the frame."""
    SAME_BYTES = "same_bytes"
    """Fetched again, because the mirror had lost it or the archive shows another date; the bytes are those that are in
    the catalogue, so it goes no further."""
    NOT_IN_ARCHIVE = "not_in_archive"
    """Asked for, but the archive does not have it (404, or not listed). Looked for again by the next plan."""
    WITHDRAWN = "withdrawn"
    """Was in the archive, and is not listed any more. What was made of it stays in mirror and catalogue."""
    ARCHIVE_UNAVAILABLE = "archive_unavailable"
    """The archive did not answer properly after all retries. Tried again by the next plan."""
    CORRUPT_UPSTREAM = "corrupt_upstream"
    """The archive's own copy is damaged: cut short, a wrong CRC, a web page under a frame's name. Not mirrored."""
    CHECKSUM_MISMATCH = "checksum_mismatch"
    """Bytes read from S3 or HDFS are not the bytes that were downloaded."""
    QUARANTINED = "quarantined"
    """So many checksum mismatches that it is not fetched again by itself. The reason holds both checksums."""
    STORAGE_FAILED = "storage_failed"
    """S3 or HDFS refused or lost an operation, after all retries. Tried again by the next plan."""
    BAD_FRAME = "bad_frame"
    """A whole FITS file, but not a usable frame: HDUs missing, wrong shape, header of another frame."""
    EXTRACTION_FAILED = "extraction_failed"
    """SEP could not measure it, for example because it is too crowded for the limits."""
    OUT_OF_MEMORY = "out_of_memory"
    """Needs more memory than a worker may have, also alone in a task of its own."""
    TIMED_OUT = "timed_out"
    """Took longer than a frame may, also alone in a task of its own."""
    WORKER_DIED = "worker_died"
    """The worker died at this frame, also alone: killed by the machine, or a crash in compiled code."""
    INTERNAL_ERROR = "internal_error"
    """An error that nobody foresaw: a bug. The reason holds its type and text, the task's log the traceback."""
    NOT_VALID = "not_valid"
    """The batch did not pass validation and is not published."""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong with the frame in this stage."""
        return self in (Outcome.OK, Outcome.OK_EMPTY, Outcome.SAME_BYTES)

    @property
    def goes_on(self) -> bool:
        """Whether the frame goes on to the next stage."""
        return self in (Outcome.OK, Outcome.OK_EMPTY)

    @property
    def advice(self) -> str:
        """What a person can do about it."""
        return _ADVICE[self]


_ADVICE = {
    Outcome.WAITING: "run the ingestion, or wait for the next one",
    Outcome.OK: "nothing to do",
    Outcome.OK_EMPTY: "nothing to do",
    Outcome.SAME_BYTES: "nothing to do",
    Outcome.WITHDRAWN: "find out from the archive why; what is published of it stays until somebody removes it",
    Outcome.QUARANTINED: "compare both checksums with the archive's; once the cause is found, AGAIN=1 (Try again)",
    Outcome.OUT_OF_MEMORY: "give workers more memory (KIRA_FRAME_MEMORY_MB), then AGAIN=1 (Try again)",
    Outcome.TIMED_OUT: "look at the frame, or give frames more time (KIRA_FRAME_SECONDS), then AGAIN=1 (Try again)",
    Outcome.WORKER_DIED: "look at the frame and at the machine's memory, then AGAIN=1 (Try again)",
    Outcome.NOT_IN_ARCHIVE: "check run, camcol, field and band; the next ingestion looks again",
    Outcome.ARCHIVE_UNAVAILABLE: "run the ingestion again later",
    Outcome.CORRUPT_UPSTREAM: "report it to the archive; once it is mended, run the ingestion with AGAIN=1 (Try again)",
    Outcome.CHECKSUM_MISMATCH: "check the disks of S3 and HDFS; the damaged copy was removed and is made anew",
    Outcome.STORAGE_FAILED: "check S3 and HDFS; run the ingestion again",
    Outcome.BAD_FRAME: "look at the file, it may be another frame's; AGAIN=1 (Try again) fetches it anew",
    Outcome.EXTRACTION_FAILED: "look at the frame; if it is crowded raise the limits, then AGAIN=1 (Try again)",
    Outcome.INTERNAL_ERROR: "report the traceback in the task's log",
    Outcome.NOT_VALID: "read the batch's validation report",
}

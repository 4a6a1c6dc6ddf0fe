"""What has been fetched into a folder: a file of JSON lines with the SHA-256 of each frame, added to as frames come."""

import fcntl
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from kira.errors import KiraError

INDEX = "fetched.jsonl"
"""Name of the file, in the folder that has `das` and `sas`."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """One file as it came.

    Parameters
    ----------
    path : str
        Below the folder, such as `das/imaging/…`.
    size : int
        Bytes.
    sha256 : str
    plain_size : int
        Bytes of the FITS file in it.
    url : str
        Where it came from; empty for a file that was found in the folder.
    """

    path: str
    size: int
    sha256: str
    plain_size: int
    url: str = ""


class Known:
    """What an index tells, for whoever only reads it.

    Parameters
    ----------
    content : bytes
        Of the index; an end without a line break is a line that is, or was, not written to its end.
    name : str
        Of its file, for warnings.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self._known: dict[str, Fetched] = {}
        for number, line in enumerate(content.rpartition(b"\n")[0].splitlines(), 1):
            one = _fetched(line)
            if one is None:
                # The frame is not lost: what is on disk without a record is decompressed and written down anew.
                log.warning("%s: line %d is not understood, and passed over", name, number)
            else:
                self._known[one.path] = one
        self._reruns = {_run_of(path): _rerun_of(path) for path in self._known if path.startswith("das/")}

    def get(self, path: str) -> Fetched | None:
        """What is known of a file."""
        return self._known.get(path)

    def rerun(self, run: int) -> int | None:
        """Rerun in which frames of a run were fetched from DAS before: a run stays of one reduction."""
        return self._reruns.get(run)


class Index(Known):
    """The index of one folder, to be added to, which one process at a time may hold.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Raises
    ------
    KiraError
        If another process fetches into the folder.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock()
        self._file = (folder / INDEX).open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            super().__init__(self._content(), self._file.name)
        except OSError as error:
            self._file.close()
            if not isinstance(error, BlockingIOError):
                raise
            raise KiraError(f"Another process is fetching into {folder}; wait for its end, or use another.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, one: Fetched) -> None:
        """Write down a file that is in its place; what was known of it before counts no more."""
        line = json.dumps(asdict(one)) + "\n"
        with self._lock:
            self._file.write(line.encode())
            self._file.flush()
            self._known[one.path] = one

    def _content(self) -> bytes:
        self._file.seek(0)
        content = self._file.read()
        if torn := content.rpartition(b"\n")[2]:  # a process was killed while it wrote its last line
            self._file.truncate(len(content) - len(torn))
        return content


def _fetched(line: bytes) -> Fetched | None:
    try:
        one = Fetched(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = all(isinstance(value, str) for value in (one.path, one.sha256, one.url))
    numbers = all(type(value) is int for value in (one.size, one.plain_size))
    if not (texts and numbers):
        return None
    if one.path.startswith("das/") and not (_run_of(one.path) and _rerun_of(one.path)):
        return None
    return one


def _run_of(path: str) -> int:
    return _number(path, 2)


def _rerun_of(path: str) -> int:
    return _number(path, 3)


def _number(path: str, place: int) -> int:
    """Number in a path such as `das/imaging/4192/40/…`, 0 if there is none."""
    parts = path.split("/")
    return int(parts[place]) if len(parts) > place and parts[place].isascii() and parts[place].isdigit() else 0

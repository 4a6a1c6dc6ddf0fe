"""One file on its way over HTTP: what an answer means, what has come, and how to ask for the rest."""

import hashlib
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import IO

import httpx

from kira.errors import ArchiveUnavailable, NotInArchive

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)", re.ASCII)


class TryAgainError(Exception):
    """An answer that may be better next time, after so many seconds if the server asked for them."""

    def __init__(self, text: str, after: float = 0.0) -> None:
        super().__init__(text)
        self.after = after


@dataclass(frozen=True)
class RemoteFile:
    """What the archive says of a file without sending it; None where it does not say.

    Parameters
    ----------
    size : int or None
        Bytes.
    last_modified, etag : str or None
        As in the headers of the answer.
    """

    size: int | None
    last_modified: str | None
    etag: str | None


class Transfer:
    """One file on its way: what has come of it, and how to ask for the rest.

    Parameters
    ----------
    url : str
    max_bytes : int
        A longer file is refused.
    file : binary file, optional
        Where to keep what comes, for a file that is too large for memory; `content` stays empty then.
    """

    def __init__(self, url: str, max_bytes: int, file: IO[bytes] | None = None) -> None:
        self.url = url
        self.attempts = 0
        self.resumed = 0
        self._max_bytes = max_bytes
        self._file = file
        self._restart()

    def _restart(self, remote: RemoteFile = RemoteFile(None, None, None)) -> None:
        self.remote = remote
        self.received = 0
        self.content = bytearray()
        self.sha256 = hashlib.sha256()
        if self._file:
            self._file.seek(0)
            self._file.truncate()

    def rest(self) -> dict[str, str]:
        """Headers that ask for what is missing; none if the file has to be begun anew."""
        etag = self.remote.etag
        # A weak tag says that two versions mean the same, not that their bytes are the same.
        validator = etag if etag and not etag.startswith("W/") else self.remote.last_modified
        if not (self.received and validator and validator.isascii()):
            return {}
        return {"Range": f"bytes={self.received}-", "If-Range": validator}

    def begin(self, response: httpx.Response) -> None:
        """Take the head of an answer: go on with what has come, or begin anew."""
        if self.received and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._restart()
            raise TryAgainError("the file has changed meanwhile")
        judge(response)
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            if not self._continues(response):
                self._restart()
                raise TryAgainError("the rest that was sent does not belong to what had come")
            self.resumed += 1
            return
        self._restart(described(response))
        if (self.remote.size or 0) > self._max_bytes:
            raise self._too_long()

    def _continues(self, response: httpx.Response) -> bool:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if not (match and self.received and int(match[1]) == self.received):
            return False
        # Servers exist that send a range without looking at If-Range.
        now = described(response)
        return (
            (self.remote.size is None or match[2] in ("*", str(self.remote.size)))
            and now.etag in (None, self.remote.etag)
            and now.last_modified in (None, self.remote.last_modified)
        )

    def add(self, chunk: bytes) -> None:
        """Take some more bytes."""
        if self.received + len(chunk) > self._max_bytes:
            raise self._too_long()
        if self._file:
            self._file.write(chunk)
        else:
            self.content += chunk
        self.received += len(chunk)
        self.sha256.update(chunk)

    def check_length(self) -> None:
        """Compare what has come with what was announced."""
        if self.remote.size is not None and self.received != self.remote.size:
            text = f"{self.received} bytes came where {self.remote.size} were announced"
            self._restart()
            raise TryAgainError(text)

    def _too_long(self) -> ArchiveUnavailable:
        return ArchiveUnavailable(f"{self.url}: longer than the {self._max_bytes} bytes that are read at most.")


def described(response: httpx.Response) -> RemoteFile:
    """Read size, date and tag from the head of an answer."""
    length = response.headers.get("content-length")
    return RemoteFile(
        int(length) if length else None, response.headers.get("last-modified"), response.headers.get("etag")
    )


def judge(response: httpx.Response) -> None:
    """Raise what an answer means, unless it is the file or a part of it."""
    status, url = response.status_code, response.url
    if status in (200, 206):
        return
    if status in (404, 410):
        raise NotInArchive(f"{url} is not in the archive (status {status}).")
    if status in (408, 425, 429) or status >= 500:
        raise TryAgainError(f"status {status}", _retry_after(response))
    if status in (401, 403):
        raise ArchiveUnavailable(f"{url}: the archive refuses access (status {status}); it must be open to all.")
    raise ArchiveUnavailable(f"{url}: the archive answered with status {status}, which is not expected.")


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks to wait, 0 if it does not say so in a form that is understood."""
    text = response.headers.get("retry-after", "")
    if re.fullmatch(r"\d{1,9}", text, re.ASCII):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0

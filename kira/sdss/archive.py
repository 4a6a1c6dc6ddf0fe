"""The SDSS archives over HTTP: what they hold, and the bytes of one frame.

A frame arrives whole or not at all: cut connections are taken up where they broke, a changed file is begun anew, and
lengths are compared. Whether the bytes are a frame is not judged here; the integrity check does that.
"""

import hashlib
import logging
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from html.parser import HTMLParser
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import httpx
from tenacity import (
    RetryCallState,
    RetryError,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from kira import __version__
from kira.errors import ArchiveUnavailable, InvalidInput, NotInArchive
from kira.sdss.identifiers import FrameId, frames_folder
from kira.sdss.releases import Release, Service
from kira.sdss.runlist import frames_from_run_list, read_run_list
from kira.sdss.selection import Numbers, Selection

NAME_PATTERN = r"[a-z0-9][a-z0-9-]{0,39}"
"""What an archive may be called: the name becomes part of S3 keys and HDFS paths."""

_DIRECT = 50  # Up to so many folders are asked for by name; for more it is cheaper to list what is there.
_MAX_REDIRECTS = 5
_MIB = 1024 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)", re.ASCII)
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def _split(url: str, target: str = "") -> SplitResult:
    """Parts of a URL, or of a link in the page that it names; none of them if it is not one."""
    try:
        return urlsplit(urljoin(url, target))
    except ValueError:
        return SplitResult("", "", "", "", "")


def _checked_url(url: str, what: str) -> str:
    parts = _split(url)
    if not (url.isascii() and url.isprintable() and " " not in url and _port(parts) and parts.hostname):
        raise InvalidInput(f"{what}: {url!r} is not an http or https URL.")
    if "@" in parts.netloc:
        raise InvalidInput(f"{what}: the URL of {parts.hostname} carries credentials; the archive needs none.")
    return url


def _port(parts: SplitResult) -> int | None:
    """Port of an http or https URL, None for any other."""
    try:
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None


@dataclass(frozen=True)
class Archive:
    """Where the two archives of SDSS, or a copy of them, are served.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and hyphens, at most 40: it becomes part of S3 keys and HDFS paths.
    das, sas : str
        Base URLs of the layout up to DR7 and from DR8; `http` or `https`.

    Raises
    ------
    InvalidInput
        If the name or a URL is not of that form.
    """

    name: str
    das: str
    sas: str

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME_PATTERN, self.name, re.ASCII):
            raise InvalidInput(f"{self.name!r} cannot name an archive; use up to 40 of a-z, 0-9 and '-'.")
        for service in Service:
            checked = _checked_url(getattr(self, service), f"archive {self.name}, {service}")
            if set(checked) & set("?#"):
                raise InvalidInput(f"archive {self.name}, {service}: {checked!r} is a base URL; no '?' or '#' in it.")
            object.__setattr__(self, service, checked.rstrip("/"))

    def base(self, release: Release) -> str:
        """Base URL of the archive that holds a release, without a slash at its end."""
        return self.das if release.service is Service.DAS else self.sas

    def url(self, frame: FrameId) -> str:
        """URL of a frame."""
        return f"{self.base(frame.release)}/{frame.archive_path}"


SDSS = Archive("sdss", das="http://das.sdss.org", sas="https://data.sdss.org/sas")
"""The archives of SDSS itself. Whether the historic DAS still answers is not known."""


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


@dataclass(frozen=True)
class Download:
    """One frame as it came, compressed as in the archive.

    Parameters
    ----------
    frame : FrameId
    url : str
        Where it was asked for.
    content : bytes
    sha256 : str
        Of the content, in hexadecimal.
    last_modified, etag : str or None
        As in the headers of the answer.
    seconds : float
        From the first request to the last byte, waiting between tries included.
    attempts : int
        Requests made, 1 if all went well.
    resumed : int
        How many of them went on where the one before had broken off.
    """

    frame: FrameId
    url: str
    content: bytes = field(repr=False)
    sha256: str
    last_modified: str | None
    etag: str | None
    seconds: float
    attempts: int
    resumed: int


class ArchiveClient:
    """Lists and downloads what an archive holds; to be used in a `with` statement, by any number of threads.

    A 5xx, 429, time-out, cut connection or half answer is tried again after a random, exponentially growing wait. A
    404 or 410 is `NotInArchive` at once; 401, 403, a redirect elsewhere and any other answer is `ArchiveUnavailable`
    at once.

    Parameters
    ----------
    archive : Archive
    connections : int
        Most connections open at a time, over all threads.
    timeout : float
        Seconds without a sign of life after which a try has failed.
    deadline : float
        Seconds after which a try has failed even if bytes still trickle in; the next one resumes.
    tries : int
        Tries for one file or one index page.
    backoff : float
        Upper end of the first random wait in seconds; doubles with each try.
    longest_wait : float
        Bound of any wait, also of one that the server asks for by `Retry-After`.
    max_bytes : int
        No file longer than this is read; a frame has about 3 MB compressed, 15 MB at most.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        connections: int = 4,
        timeout: float = 30.0,
        deadline: float = 600.0,
        tries: int = 5,
        backoff: float = 1.0,
        longest_wait: float = 60.0,
        max_bytes: int = 256 * _MIB,
    ) -> None:
        self.archive = archive
        self._deadline = deadline
        self._tries = tries
        self._longest_wait = longest_wait
        self._exponential = wait_random_exponential(multiplier=backoff, max=longest_wait)
        self._max_bytes = max_bytes
        self._client = httpx.Client(
            # `identity`: a server must not pack, nor httpx unpack, what the archive holds packed.
            headers={"User-Agent": f"kira/{__version__}", "Accept-Encoding": "identity"},
            # Waiting for a free connection is no failure of the server, so the pool has no time-out.
            timeout=httpx.Timeout(timeout, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
            verify=_tls(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def list_frames(self, selection: Selection) -> Iterator[FrameId]:
        """Frames of a selection that the archive's index pages show, in the order of `FrameId`.

        Only folders that the selection asks for are visited; one that is missing has no frames. Where DAS has several
        reruns of a run, the highest number that has corrected frames wins, as it replaced the others.

        Raises
        ------
        NotInArchive
            If there are no frames because the archive does not have the release at all.
        ArchiveUnavailable
            If an index page cannot be read whole: half of one would look like missing frames.
        """
        base, found = self.archive.base(selection.release), False
        for run, rerun, camcol in self._folders(selection):
            names = self._index(f"{base}/{frames_folder(selection.release, run, rerun, camcol)}/")
            found = found or names is not None
            frames = (_frame(name, selection.release, rerun) for name in names or ())
            yield from sorted(f for f in frames if f and f.run == run and f.camcol == camcol and f in selection)
        root = f"{base}/{selection.release.frames_root}/"
        if not found and self._index(root) is None:
            raise NotInArchive(f"Archive {self.archive.name} has no {selection.release}: there is no {root}")

    def list_from_run_list(self, selection: Selection) -> Iterator[FrameId]:
        """Frames of a selection that should exist by the `runList.par` of a release from DR8, asking one file only.

        Raises
        ------
        InvalidInput
            If the release is in DAS, which has no such list, or the list is not of its form.
        """
        release = selection.release
        if release.service is Service.DAS:
            raise InvalidInput(f"{release} has no runList.par; list the archive's folders instead.")
        url = f"{self.archive.base(release)}/{release.root}/photo/redux/runList.par"
        transfer = _Transfer(url, self._max_bytes)
        self._persist(url, lambda: self._receive(transfer))
        yield from frames_from_run_list(read_run_list(transfer.content.decode(errors="replace")), selection)

    def head(self, frame: FrameId) -> RemoteFile:
        """Ask for size, date and tag of a frame without its bytes."""
        url = self.archive.url(frame)

        def attempt() -> RemoteFile:
            with self._request("HEAD", url, {}) as response:
                _judge(response)
                return _described(response)

        return self._persist(url, attempt)

    def download(self, frame: FrameId, *, url: str | None = None) -> Download:
        """Fetch a frame into memory.

        Parameters
        ----------
        frame : FrameId
        url : str, optional
            Where it lies, if not where this archive has it by its layout.

        Raises
        ------
        NotInArchive, ArchiveUnavailable
            See the class.
        """
        url = self.archive.url(frame) if url is None else _checked_url(url, str(frame))
        began = time.perf_counter()
        transfer = _Transfer(url, self._max_bytes)
        self._persist(url, lambda: self._receive(transfer))
        return Download(
            frame=frame,
            url=url,
            content=bytes(transfer.content),
            sha256=transfer.sha256.hexdigest(),
            last_modified=transfer.remote.last_modified,
            etag=transfer.remote.etag,
            seconds=time.perf_counter() - began,
            attempts=transfer.attempts,
            resumed=transfer.resumed,
        )

    def _folders(self, selection: Selection) -> Iterator[tuple[int, int, int]]:
        """Run, rerun and camcol of each folder that may have frames of a selection, in order."""
        release = selection.release
        root = f"{self.archive.base(release)}/{release.frames_root}"
        if release.service is Service.SAS:
            for rerun in release.reruns:
                for run in self._numbered(f"{root}/{rerun}/", selection.runs):
                    for camcol in self._numbered(f"{root}/{rerun}/{run}/", selection.camcols):
                        yield run, rerun, camcol
            return
        for run in self._numbered(f"{root}/", selection.runs):
            for rerun in reversed(self._numbered(f"{root}/{run}/", Numbers())):
                camcols = self._numbered(f"{root}/{run}/{rerun}/corr/", Numbers()) if rerun in release.reruns else []
                yield from ((run, rerun, camcol) for camcol in camcols if camcol in selection.camcols)
                if camcols:
                    break

    def _numbered(self, url: str, numbers: Numbers) -> list[int]:
        """Folders to descend into: those asked for by number, or those that the index page shows."""
        if 0 < sum(high - low + 1 for low, high in numbers.ranges) <= _DIRECT:
            return list(numbers)
        names = self._index(url) or frozenset()
        return sorted(int(n) for n in names if re.fullmatch(r"[1-9]\d{0,5}", n, re.ASCII) and int(n) in numbers)

    def _index(self, url: str) -> frozenset[str] | None:
        """Names in a folder, or None if there is no such folder."""
        try:
            # Nothing to resume: a new page each time.
            return self._persist(url, lambda: read_index(url, self._receive(_Transfer(url, self._max_bytes)).content))
        except NotInArchive:
            return None

    def _persist(self, url: str, attempt: Callable[[], _T]) -> _T:
        """Do something, again if it failed in a way that may pass."""
        retrying = Retrying(
            stop=stop_after_attempt(self._tries),
            wait=self._wait,
            retry=retry_if_exception_type(_TRANSIENT),
            before_sleep=lambda state: _log.warning("%s: %s; again soon", url, _reason(_error(state))),
        )
        try:
            return retrying(attempt)
        except RetryError as failure:
            last = failure.last_attempt.exception()
            raise ArchiveUnavailable(
                f"{url}: no proper answer in {self._tries} tries; at last {_reason(last)}"
            ) from last

    def _wait(self, state: RetryCallState) -> float:
        error = _error(state)
        asked_for = error.after if isinstance(error, _TryAgainError) else 0.0
        return min(max(self._exponential(state), asked_for), self._longest_wait)

    def _receive(self, transfer: "_Transfer") -> "_Transfer":
        """One try to get a file, or what is still missing of it."""
        transfer.attempts += 1
        until = time.monotonic() + self._deadline
        with self._request("GET", transfer.url, transfer.rest()) as response:
            transfer.begin(response)
            for chunk in response.iter_raw():
                transfer.add(chunk)
                if time.monotonic() > until:
                    raise _TryAgainError(f"the answer took longer than {self._deadline:g} s")
        transfer.check_length()
        return transfer

    @contextmanager
    def _request(self, method: str, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """Send a request, following redirects that lead to the same file on the same host."""
        for _ in range(_MAX_REDIRECTS + 1):
            with self._client.stream(method, url, headers=headers) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                url = _redirected(url, response.headers["location"])
        raise ArchiveUnavailable(f"{url}: the archive redirects in a circle.")


@cache
def _tls() -> ssl.SSLContext:
    """Read the certificates of the authorities once, not for every client."""
    return httpx.create_ssl_context()


class _TryAgainError(Exception):
    """An answer that may be better next time, after so many seconds if the server asked for them."""

    def __init__(self, text: str, after: float = 0.0) -> None:
        super().__init__(text)
        self.after = after


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _reason(error: BaseException | None) -> str:
    return str(error) if isinstance(error, _TryAgainError) else f"{type(error).__name__}: {error}"


_TRANSIENT = (_TryAgainError, httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)


class _Transfer:
    """One file on its way: what has come of it, and how to ask for the rest."""

    def __init__(self, url: str, max_bytes: int) -> None:
        self.url = url
        self.attempts = 0
        self.resumed = 0
        self._max_bytes = max_bytes
        self._restart(RemoteFile(None, None, None))

    def _restart(self, remote: RemoteFile) -> None:
        self.remote = remote
        self.content = bytearray()
        self.sha256 = hashlib.sha256()

    def rest(self) -> dict[str, str]:
        """Headers that ask for what is missing; none if the file has to be begun anew."""
        etag = self.remote.etag
        # A weak tag says that two versions mean the same, not that their bytes are the same.
        validator = etag if etag and not etag.startswith("W/") else self.remote.last_modified
        if not (self.content and validator):
            return {}
        return {"Range": f"bytes={len(self.content)}-", "If-Range": validator}

    def begin(self, response: httpx.Response) -> None:
        """Take the head of an answer: go on with what has come, or begin anew."""
        if self.content and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._restart(RemoteFile(None, None, None))
            raise _TryAgainError("the file has changed meanwhile")
        _judge(response)
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            if not self._continues(response):
                self._restart(RemoteFile(None, None, None))
                raise _TryAgainError("the rest that was sent does not belong to what had come")
            self.resumed += 1
            return
        self._restart(_described(response))
        if (self.remote.size or 0) > self._max_bytes:
            raise self._too_long()

    def _continues(self, response: httpx.Response) -> bool:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if not (match and self.content and int(match[1]) == len(self.content)):
            return False
        # Servers exist that send a range without looking at If-Range.
        now = _described(response)
        return (
            (self.remote.size is None or match[2] in ("*", str(self.remote.size)))
            and now.etag in (None, self.remote.etag)
            and now.last_modified in (None, self.remote.last_modified)
        )

    def add(self, chunk: bytes) -> None:
        if len(self.content) + len(chunk) > self._max_bytes:
            raise self._too_long()
        self.content += chunk
        self.sha256.update(chunk)

    def check_length(self) -> None:
        if self.remote.size is not None and len(self.content) != self.remote.size:
            text = f"{len(self.content)} bytes came where {self.remote.size} were announced"
            self._restart(RemoteFile(None, None, None))
            raise _TryAgainError(text)

    def _too_long(self) -> ArchiveUnavailable:
        return ArchiveUnavailable(f"{self.url}: longer than the {self._max_bytes} bytes that are read at most.")


class _IndexParser(HTMLParser):
    """Collects the targets of links, and whether the page came to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ended = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]

    def handle_endtag(self, tag: str) -> None:
        self.ended = self.ended or tag == "html"


def read_index(url: str, page: bytes | bytearray) -> frozenset[str]:
    """Names of the files and folders that an index page (Apache, nginx, fancyindex) of a web server links to.

    Parameters
    ----------
    url : str
        Of the page; ends with a slash.
    page : bytes

    Raises
    ------
    Exception
        Private to this module, to be tried again: the page has no end, or is none.
    """
    parser = _IndexParser()
    parser.feed(page.decode(errors="replace"))
    parser.close()
    if not parser.ended:
        raise _TryAgainError("the index page is cut short")
    links = [_split(url, target) for target in parser.targets]
    here = _split(url)
    folder = unquote(here.path)
    paths = [unquote(link.path) for link in links if link.netloc == here.netloc and not (link.query or link.fragment)]
    names = {path.removeprefix(folder).removesuffix("/") for path in paths if path.startswith(folder)}
    children = frozenset(name for name in names if name not in ("", ".", "..") and "/" not in name)
    # An empty folder links to its parent at least; what does not is a login or maintenance page that answers 200.
    if not (children or folder.rstrip("/").rpartition("/")[0] + "/" in paths):
        raise _TryAgainError("the answer is not an index page")
    return children


def _frame(name: str, release: Release, rerun: int) -> FrameId | None:
    """Frame of exactly this file name, if it is one."""
    try:
        frame = FrameId.from_file_name(name, release, rerun)
    except InvalidInput:
        return None
    return frame if frame.file_name == name else None


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads, if that is the same file on the same host.

    A login page has another name than the frame, so no list of such pages is needed to know one.
    """
    old, new = _split(url), _split(url, location)
    upgraded = (old.scheme, new.scheme) == ("http", "https")
    same_host = old.hostname == new.hostname and (upgraded or (old.scheme, _port(old)) == (new.scheme, _port(new)))
    if not same_host:
        raise ArchiveUnavailable(f"{url}: the archive redirects to another host ({new.hostname}); is its URL outdated?")
    if old.path.rstrip("/").rpartition("/")[2] != new.path.rstrip("/").rpartition("/")[2]:
        raise ArchiveUnavailable(f"{url}: the archive redirects to {new.path}, perhaps a login page; it must be open.")
    return new.geturl()


def _described(response: httpx.Response) -> RemoteFile:
    length = response.headers.get("content-length")
    return RemoteFile(
        int(length) if length else None, response.headers.get("last-modified"), response.headers.get("etag")
    )


def _judge(response: httpx.Response) -> None:
    """Raise what an answer means, unless it is the file or a part of it."""
    status, url = response.status_code, response.url
    if status in (200, 206):
        return
    if status in (404, 410):
        raise NotInArchive(f"{url} is not in the archive (status {status}).")
    if status in (408, 425, 429) or status >= 500:
        raise _TryAgainError(f"status {status}", _retry_after(response))
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

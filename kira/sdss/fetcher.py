"""Gets files over HTTP, persistently: what may pass is tried again, what is final is said at once."""

import logging
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO, TypeVar

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
from kira.errors import ArchiveUnavailable
from kira.sdss.index_page import IndexEntry, read_index
from kira.sdss.transfer import RemoteFile, Transfer, TryAgainError, described, judge
from kira.sdss.urls import redirected

_MAX_REDIRECTS = 5
_TRANSIENT = (TryAgainError, httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Fetcher:
    """One pool of connections and one way to try again, for any number of threads; see `ArchiveClient`."""

    def __init__(
        self,
        *,
        connections: int,
        timeout: float,
        deadline: float,
        tries: int,
        backoff: float,
        longest_wait: float,
        max_bytes: int,
    ) -> None:
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

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def get(self, url: str) -> Transfer:
        """Fetch a file into memory, resuming where it breaks."""
        transfer = Transfer(url, self._max_bytes)
        return self._persist(url, lambda: self._receive(transfer))

    def get_into(self, file: IO[bytes], url: str, max_bytes: int) -> Transfer:
        """Fetch a file that is too large for memory into one on disk, resuming where it breaks."""
        transfer = Transfer(url, max_bytes, file)
        return self._persist(url, lambda: self._receive(transfer))

    def index(self, url: str) -> dict[str, IndexEntry]:
        """What is in a folder, by its index page; half a page is tried again, from its beginning."""
        return self._persist(url, lambda: read_index(url, self._receive(Transfer(url, self._max_bytes)).content))

    def head(self, url: str) -> RemoteFile:
        """Ask for size, date and tag of a file."""

        def attempt() -> RemoteFile:
            with self._request("HEAD", url, {}) as response:
                judge(response)
                return described(response)

        return self._persist(url, attempt)

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
        asked_for = error.after if isinstance(error, TryAgainError) else 0.0
        return min(max(self._exponential(state), asked_for), self._longest_wait)

    def _receive(self, transfer: Transfer) -> Transfer:
        """One try to get a file, or what is still missing of it."""
        transfer.attempts += 1
        until = time.monotonic() + self._deadline
        with self._request("GET", transfer.url, transfer.rest()) as response:
            transfer.begin(response)
            for chunk in response.iter_raw():
                transfer.add(chunk)
                if time.monotonic() > until:
                    raise TryAgainError(f"the answer took longer than {self._deadline:g} s")
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
                url = redirected(url, response.headers["location"])
        raise ArchiveUnavailable(f"{url}: the archive redirects in a circle.")


@cache
def _tls() -> ssl.SSLContext:
    """Read the certificates of the authorities once, not for every client."""
    return httpx.create_ssl_context()


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _reason(error: BaseException | None) -> str:
    return str(error) if isinstance(error, TryAgainError) else f"{type(error).__name__}: {error}"

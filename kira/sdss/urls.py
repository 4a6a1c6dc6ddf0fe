"""URLs: taken apart, checked where they come in, and followed where a server redirects."""

from urllib.parse import SplitResult, urljoin, urlsplit

import httpx

from kira.errors import ArchiveUnavailable, InvalidInput
from kira.sdss.quoting import quoted

_PORTS = {"http": 80, "https": 443}


def split_url(url: str, target: str = "") -> SplitResult:
    """Parts of a URL, or of a link in the page that it names; none of them if it is not one."""
    try:
        return urlsplit(urljoin(url, target))
    except ValueError:
        return SplitResult("", "", "", "", "")


def checked_url(url: str, what: str) -> str:
    """Give a URL back if it is one of http or https, with a host and without credentials.

    Parameters
    ----------
    url : str
    what : str
        Whose URL it is, for the sentence of the error.
    """
    if "@" in url:  # looked at first, so that no password is repeated in an error
        raise InvalidInput(f"{what}: the URL has an '@', as those with credentials do; an archive is open to all.")
    parts = split_url(url)
    printable = url.isascii() and url.isprintable() and " " not in url
    if not (printable and parts.scheme in _PORTS and parts.hostname and _port(parts) and _known_to_httpx(url)):
        raise InvalidInput(f"{what}: {quoted(url)} is not an http or https URL.")
    return url


def redirected(url: str, location: str) -> str:
    """Where a redirect leads, if that is the same file on the same host.

    A login page has another name than the frame, so no list of such pages is needed to know one.
    """
    old, new = split_url(url), split_url(url, location)
    upgraded = (old.scheme, new.scheme) == ("http", "https")
    same_host = old.hostname == new.hostname and (upgraded or (old.scheme, _port(old)) == (new.scheme, _port(new)))
    if not same_host:
        raise ArchiveUnavailable(f"{url}: the archive redirects to another host ({new.hostname}); is its URL outdated?")
    if old.path.rstrip("/").rpartition("/")[2] != new.path.rstrip("/").rpartition("/")[2]:
        raise ArchiveUnavailable(f"{url}: the archive redirects to {new.path}, perhaps a login page; it must be open.")
    return new.geturl()


def _port(parts: SplitResult) -> int | None:
    try:
        return _PORTS.get(parts.scheme) if parts.port is None else parts.port
    except ValueError:
        return None


def _known_to_httpx(url: str) -> bool:
    """Whether the library that will use the URL takes it: it is stricter about host names."""
    try:
        return bool(httpx.URL(url).host)
    except httpx.InvalidURL:
        return False

"""Index pages that web servers make of folders: what is in them, and whether the page is whole."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import unquote

from kira.sdss.transfer import TryAgainError
from kira.sdss.urls import split_url

_DATE = re.compile(
    r"(?<!\S)(?:\d{4}-(?:\d\d|[A-Z][a-z]{2})-\d\d|\d\d-[A-Z][a-z]{2}-\d{4})[ T]\d\d:\d\d(?::\d\d)?(?!\S)"
)
_SIZE = re.compile(r"(?<!\S)\d{1,18}(?:\.\d{1,9})?(?: ?(?:[KMGTP]i?B?|B|bytes))?(?!\S)", re.IGNORECASE)


@dataclass(frozen=True)
class IndexEntry:
    """What an index page says of one file or folder, in the page's own words; empty where it does not say.

    Parameters
    ----------
    size : str
        `12345678`, `2.2M`, `3.1 MiB`: servers round as they like.
    date : str
        Of the last change, to the minute or the second, in the server's own form and time zone.
    """

    size: str = ""
    date: str = ""


@dataclass
class _Link:
    """A link, and the text that follows it in its row."""

    target: str
    after: list[str] = field(default_factory=list)


class _IndexParser(HTMLParser):
    """Collects links with the text between each and the end of its row, and whether the page came to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[_Link] = []
        self.ended = False
        self._row: _Link | None = None  # Whose row it is that is being read: no row goes beyond the next link.
        self._in_link = False
        self._lines = False  # Within <pre> a row is a line.

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            targets = [value for name, value in attrs if name == "href" and value]
            self.links += [_Link(target) for target in targets]
            self._row, self._in_link = self.links[-1] if targets else None, True
        elif tag in ("tr", "hr", "li", "address"):
            self._row = None
        elif tag == "pre":
            self._lines = True
        elif tag in ("td", "th") and self._row:
            self._row.after.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._in_link = False
        elif tag in ("tr", "pre", "li", "table", "ul"):
            self._row = None
        self.ended = self.ended or tag == "html"

    def handle_data(self, data: str) -> None:
        if not self._row or self._in_link:
            return
        line, end, _ = data.partition("\n") if self._lines else (data, "", "")
        self._row.after.append(line)
        if end:
            self._row = None


def read_index(url: str, page: bytes | bytearray) -> dict[str, IndexEntry]:
    """Names of the files and folders that an index page (Apache, nginx, fancyindex) links to, with size and date.

    Parameters
    ----------
    url : str
        Of the page; ends with a slash.
    page : bytes

    Raises
    ------
    TryAgainError
        If the page has no end, or is no index page.
    """
    parser = _IndexParser()
    parser.feed(page.decode(errors="replace"))
    parser.close()
    if not parser.ended:
        raise TryAgainError("the index page is cut short")
    here = split_url(url)
    folder = unquote(here.path)
    parent = folder.rstrip("/").rpartition("/")[0] + "/"
    children: dict[str, IndexEntry] = {}
    has_parent = False
    for link in parser.links:
        to = split_url(url, link.target)
        if to.netloc != here.netloc or to.query or to.fragment:
            continue
        path = unquote(to.path)
        has_parent = has_parent or path == parent
        name = path.removeprefix(folder).removesuffix("/")
        if not path.startswith(folder) or name in ("", ".", "..") or "/" in name:
            continue
        entry = _entry("".join(link.after))
        # An icon may be a link of its own before the name: what stands behind the name counts.
        if entry != IndexEntry() or name not in children:
            children[name] = entry
    # An empty folder links to its parent at least; what does not is a login or maintenance page that answers 200.
    if not (children or has_parent):
        raise TryAgainError("the answer is not an index page")
    return children


def _entry(text: str) -> IndexEntry:
    """Read size and date from the rest of a row, in either order."""
    date = _DATE.search(text)
    rest = text[: date.start()] + " " + text[date.end() :] if date else text
    size = _SIZE.search(rest)
    return IndexEntry(size[0] if size else "", date[0] if date else "")

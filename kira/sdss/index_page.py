"""Index pages that web servers make of folders: the names in them, and whether the page is whole."""

from html.parser import HTMLParser
from urllib.parse import unquote

from kira.sdss.transfer import TryAgainError
from kira.sdss.urls import split_url


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
    TryAgainError
        If the page has no end, or is no index page.
    """
    parser = _IndexParser()
    parser.feed(page.decode(errors="replace"))
    parser.close()
    if not parser.ended:
        raise TryAgainError("the index page is cut short")
    links = [split_url(url, target) for target in parser.targets]
    here = split_url(url)
    folder = unquote(here.path)
    paths = [unquote(link.path) for link in links if link.netloc == here.netloc and not (link.query or link.fragment)]
    names = {path.removeprefix(folder).removesuffix("/") for path in paths if path.startswith(folder)}
    children = frozenset(name for name in names if name not in ("", ".", "..") and "/" not in name)
    # An empty folder links to its parent at least; what does not is a login or maintenance page that answers 200.
    if not (children or folder.rstrip("/").rpartition("/")[0] + "/" in paths):
        raise TryAgainError("the answer is not an index page")
    return children

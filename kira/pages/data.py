"""What the pages read: ledger and staging store, opened where they are first needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from time import monotonic
from typing import Any, Generic, TypeVar

from kira.ledger import Ledger
from kira.pages.kept import Kept
from kira.pages.pixels import Pixels
from kira.sdss.archive import Archive
from kira.settings import Settings
from kira.storage import Store, open_store

_T = TypeVar("_T")
_FRAMES_OF_SOURCES = 16


class Remembered(Generic[_T]):
    """A value that is made anew when it is older than some seconds, by one thread at a time.

    Many people may look at a page; the servers behind it are asked once.

    Parameters
    ----------
    make : callable
    seconds : float
    """

    def __init__(self, make: Callable[[], _T], seconds: float) -> None:
        self._make = make
        self._seconds = seconds
        self._lock = Lock()
        self._known: tuple[float, _T] | None = None

    def __call__(self) -> _T:
        """Return the value."""
        with self._lock:
            if self._known is None or monotonic() - self._known[0] > self._seconds:
                self._known = (monotonic(), self._make())
            return self._known[1]


@dataclass
class Data:
    """Where the pages look.

    Parameters
    ----------
    settings_of : callable
        Makes the settings; called at the first request, so that a setting that is missing is a message on a page and
        no plugin that cannot be loaded.
    remembered : dict of str to Remembered
        What the pages keep for some seconds, by their names.
    sources : Kept
        Sources of some frames, as they are drawn.
    s3_client : callable, optional
        Makes a boto3 client of the mirror's S3.
    archives : callable, optional
        The archives that there are.
    """

    settings_of: Callable[[], Settings] = Settings.from_environment
    remembered: dict[str, Remembered[Any]] = field(default_factory=dict)
    sources: Kept[Any] = field(default_factory=lambda: Kept(_FRAMES_OF_SOURCES, lambda _: 1))
    s3_client: Callable[[], Any] | None = None
    archives: Callable[[], Sequence[Archive]] | None = None

    @cached_property
    def settings(self) -> Settings:
        """Settings of the stages."""
        return self.settings_of()

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger."""
        return Ledger(self.settings.ledger_url)

    @cached_property
    def store(self) -> Store:
        """The staging store, with the catalogues."""
        return open_store(self.settings.stage_url)

    @cached_property
    def pixels(self) -> Pixels:
        """Staged frames and pictures of them."""
        return Pixels(self.store)

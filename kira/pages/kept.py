"""What is dear to make and asked for again: kept by key, the longest unused forgotten first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

_V = TypeVar("_V")


class Kept(Generic[_V]):
    """Values by key, up to a total size; each is made by one thread, however many ask for it.

    Parameters
    ----------
    most : int
        Of all together, bytes or what `size_of` counts; the newest stays even if it alone is larger.
    size_of : callable
        Size of a value.
    """

    def __init__(self, most: int, size_of: Callable[[_V], int]) -> None:
        self._most = most
        self._size_of = size_of
        self._lock = Lock()
        self._values: OrderedDict[Hashable, _V] = OrderedDict()
        self._making: dict[Hashable, Lock] = {}

    def __call__(self, key: Hashable, make: Callable[[], _V]) -> _V:
        """Value of a key, made if it is not there; what making it raises is raised, and not kept."""
        with self._lock:
            mine = self._making.setdefault(key, Lock())
        with mine:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
            try:
                value = make()
                with self._lock:
                    self._values[key] = value
                    self._forget()
                return value
            finally:
                with self._lock:
                    self._making.pop(key, None)

    def _forget(self) -> None:
        held = sum(self._size_of(value) for value in self._values.values())
        while held > self._most and len(self._values) > 1:
            _, oldest = self._values.popitem(last=False)
            held -= self._size_of(oldest)

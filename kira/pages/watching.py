"""Questions to servers that may be slow or dead, asked so that no page waits long for them."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from time import monotonic
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Watched(Generic[_T]):
    """A question that is asked in a thread of its own; its answer is remembered, be it a failure or not.

    However many people look, one thread at a time asks. One that hangs is left to its own time-outs, and no second one
    is sent after it.

    Parameters
    ----------
    ask : callable
    seconds : float
        How long an answer is good for.
    wait : float
        Seconds that a caller waits for it at most.
    """

    def __init__(self, ask: Callable[[], _T], seconds: float, wait: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._wait = wait
        self._lock = Lock()
        self._future: Future[_T] | None = None
        self._answered = 0.0

    def begin(self) -> "Future[_T]":
        """Ask, unless an answer is known or on its way."""
        with self._lock:
            known = self._future
            if known is None or (known.done() and monotonic() - self._answered > self._seconds):
                known = self._future = Future()
                # Not a pool's: its threads are waited for when the process ends, and this one may hang.
                Thread(target=self._run, args=(known,), daemon=True).start()
            return known

    def __call__(self, wait: float | None = None) -> _T:
        """The answer.

        Parameters
        ----------
        wait : float, optional
            Instead of the usual one.

        Raises
        ------
        TimeoutError
            If there is none yet.
        Exception
            What the question failed with.
        """
        return self.begin().result(self._wait if wait is None else wait)

    def _run(self, future: Future[_T]) -> None:
        try:
            answer = self._ask()
        except BaseException as error:  # noqa: BLE001 - it is the answer, and raised where it is asked for
            self._answered = monotonic()
            future.set_exception(error)
        else:
            self._answered = monotonic()
            future.set_result(answer)

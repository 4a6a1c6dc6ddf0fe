"""What Spark says when it gives up a task, as a sentence for a person."""

import re
from collections.abc import Sequence
from contextlib import suppress

from kira.errors import StorageError
from kira.stages.extraction import Task
from kira.storage import Store

_GIVEN_UP = re.compile(r"Task (\d+) in stage [\d.]+ failed (\d+) times?, most recent failure: (.*)", re.DOTALL)
_MARK = re.compile(r"^ *kira: task (\d+), attempt (\d+)", re.MULTILINE)
_LOST = re.compile(r"^Lost task [\d.]+ in stage [\d.]+ \(TID \d+\) \((?P<host>\S+) executor \S+\): ")
_ERROR = re.compile(r"^(?!SQLSTATE: )[A-Za-z_][\w.]*(: |$)")
_LONGEST = 600


def mark(task: Task, number: int) -> str:
    """Say in the traceback of a worker which task it was: of an error of Python, Spark tells no more."""
    return f"kira: task {task.number}, attempt {number + 1}"


def given_up(text: str, tasks: Sequence[Task], store: Store) -> str | None:
    """Sentence of a task that Spark gave up; None if the text says nothing of the kind.

    Parameters
    ----------
    text : str
        Of the exception that ended the action.
    tasks : sequence of Task
        What Spark was given, in its order.
    store : Store
        Where the tasks leave their notes.
    """
    if marked := _MARK.search(text):
        number, times, reason = int(marked[1]) - tasks[0].number, int(marked[2]), text[: marked.start()]
    elif match := _GIVEN_UP.search(text):
        number, times, reason = int(match[1]), int(match[2]), match[3]
    else:
        return None
    lost = _LOST.match(reason)
    host = f" on {lost['host']}" if lost else ""
    tries = f"after {times} attempts" if times > 1 else "after its only attempt"
    task = f"task {number + 1} of {len(tasks)} ({_frames_of(tasks[number], times - 1, store)})"
    return f"Spark gave up {task} {tries}; the last ended{host} with: {_innermost(reason)}"


def not_loaded(text: str) -> str:
    """Sentence of workers that did not even come up; `text` is that of the exception that ended the action."""
    return f"The Python workers of Spark could not load Kira, before any frame was read: {_innermost(text)}"


def _frames_of(task: Task, last: int, store: Store) -> str:
    entries = task.entries
    text = (
        str(entries[0].frame)
        if len(entries) == 1
        else f"{len(entries)} frames from {entries[0].frame} to {entries[-1].frame}"
    )
    with suppress(StorageError):  # the note says more, and nothing hangs on it
        if len(entries) > 1 and store.exists(task.note(last)):
            text += f", the last attempt at {store.read(task.note(last)).decode()}"
    return text


def _innermost(reason: str) -> str:
    """Innermost line of Python, or what Spark says where no Python error came through."""
    reason = _LOST.sub("", reason).partition("Driver stacktrace:")[0].partition("\n\tat ")[0]
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    line = next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1] if lines else "nothing said")
    return line.partition(" Consider setting ")[0][:_LONGEST]

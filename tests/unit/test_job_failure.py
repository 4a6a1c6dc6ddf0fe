"""What a Spark job that failed says of itself: a task given up, an error of the driver, or nothing."""

from pathlib import Path

import pytest

from kira.errors import InvalidInput, SparkTaskFailed
from kira.extraction import Parameters
from kira.jobs.failure import given_up, mark, not_loaded
from kira.sdss import FrameId
from kira.stages.extraction import FAILURE, Task, forget_failure, job_failure, note_failure
from kira.storage import Entry, Manifest, Store, open_store

FRAMES = [f"dr12-301-000094-1-{field:04d}-r" for field in (11, 12, 13)]
ENTRIES = tuple(Entry(FrameId.parse(frame), "http://none/x", "k", "s") for frame in FRAMES)
MANIFEST = Manifest("b", "a", "dr12", "kira-1", "stage", "run-1", ENTRIES)
JAVA = "\n\tat org.apache.spark.rdd.RDD.iterator(RDD.scala:338)\n\tat java.base/java.lang.Thread.run(Thread.java:840)"
CRASH = (
    "An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.\n"
    ": org.apache.spark.SparkException: Job aborted due to stage failure: Task 1 in stage 0.0 failed 4 times, most "
    "recent failure: Lost task 1.3 in stage 0.0 (TID 5) (10.0.0.7 executor 2): org.apache.spark.SparkException: Python "
    "worker exited unexpectedly (crashed). Consider setting 'spark.python.worker.faulthandler.enabled' configuration "
    f"to 'true' for the better traceback.{JAVA}\nCaused by: java.io.EOFException{JAVA}\n\nDriver stacktrace:{JAVA}"
)
EXECUTOR = (
    "Job aborted due to stage failure: Task 0 in stage 1.0 failed 4 times, most recent failure: Lost task 0.3 in stage "
    "1.0 (TID 9) (10.0.0.8 executor 3): ExecutorLostFailure (executor 3 exited caused by one of the running tasks) "
    "Reason: Container killed by YARN for exceeding physical memory limits.\nDriver stacktrace:"
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/stage")


def tasks(store: Store, first: int = 0) -> list[Task]:
    return [
        Task(store.url, "a/attempt", first, Parameters(), ENTRIES[:1]),
        Task(store.url, "a/attempt", first + 1, Parameters(), ENTRIES[1:]),
    ]


def test_a_crash_names_task_frames_and_host(store: Store) -> None:
    assert given_up(CRASH, tasks(store), store) == (
        f"Spark gave up task 2 of 2 (2 frames from {FRAMES[1]} to {FRAMES[2]}) after 4 attempts; the last ended on "
        "10.0.0.7 with: org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)."
    )
    store.write(tasks(store)[1].note(3), FRAMES[2].encode())
    assert f"to {FRAMES[2]}, the last attempt at {FRAMES[2]})" in str(given_up(CRASH, tasks(store), store))


def test_a_lost_executor_says_why(store: Store) -> None:
    assert given_up(EXECUTOR, tasks(store), store) == (
        f"Spark gave up task 1 of 2 ({FRAMES[0]}) after 4 attempts; the last ended on 10.0.0.8 with: "
        "ExecutorLostFailure (executor 3 exited caused by one of the running tasks) Reason: Container killed by YARN "
        "for exceeding physical memory limits."
    )


def test_an_error_of_python_is_told_by_its_innermost_line(store: Store) -> None:
    task = tasks(store, 7)[1]
    text = (
        "An exception was thrown from the Python worker:\nTraceback (most recent call last):\n"
        f'  File "x.py", line 3, in f\n    g()\nkira.errors.StorageError: no space left\n  on any DataNode\n'
        f"{mark(task, 1)}\n\nJVM stacktrace:{JAVA}"
    )
    assert given_up(text, tasks(store, 7), store) == (
        f"Spark gave up task 2 of 2 (2 frames from {FRAMES[1]} to {FRAMES[2]}) after 2 attempts; the last ended with: "
        "kira.errors.StorageError: no space left"
    )


def test_what_is_no_task_s_failure_is_not_taken_for_one(store: Store) -> None:
    assert given_up("Job 0 cancelled because SparkContext was shut down", tasks(store), store) is None


def fail(store: Store, error: Exception) -> None:
    try:
        raise error
    except Exception as raised:  # noqa: BLE001 - as the job does
        note_failure(store, MANIFEST, raised)


def test_the_three_kinds(store: Store) -> None:
    assert job_failure(store, MANIFEST).kind == "killed"
    fail(store, SparkTaskFailed("Spark gave up task 1."))
    found = job_failure(store, MANIFEST)
    assert (found.kind, found.text) == ("task", "Spark gave up task 1.")
    fail(store, InvalidInput("KIRA_FRAME_SECONDS='x' is not a whole number."))
    found = job_failure(store, MANIFEST)
    assert found.kind == "driver"
    assert found.text.startswith(
        "The driver of the Spark job of batch b (3 frames from dr12-301-000094-1-0011-r to dr12-301-000094-1-0013-r) "
        "ended with InvalidInput: KIRA_FRAME_SECONDS='x' is not a whole number. (test_job_"
    )
    assert found.text.endswith("in fail)")
    forget_failure(store, MANIFEST)
    found = job_failure(store, MANIFEST)
    assert found.kind == "killed"
    assert "dr12-301-000094-1-0013-r) ended without a word: it was killed" in found.text


@pytest.mark.parametrize(
    "error", [SparkTaskFailed("x" * 5000), RuntimeError("y" * 5000), RuntimeError(f"z{JAVA}" * 50)]
)
def test_a_text_is_short_and_holds_no_stack_of_java(store: Store, error: Exception) -> None:
    fail(store, error)
    text = job_failure(store, MANIFEST).text
    assert 20 < len(text) <= 1000
    assert "\tat " not in text


@pytest.mark.parametrize("note", [b"", b"[]", b"null", b"\xff", b'{"kind": "other"}', b'{"kind": ["task"]}'])
def test_a_note_that_says_nothing_is_none(store: Store, note: bytes) -> None:
    store.write(f"{MANIFEST.folder}/{FAILURE}", note)
    assert job_failure(store, MANIFEST).kind == "killed"


@pytest.mark.parametrize("end", ["", "SQLSTATE: 38000\n"])
def test_workers_that_could_not_load_kira_are_told_of_as_such(end: str) -> None:
    text = (
        "An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.\n"
        ': org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n  File "w.py", line 9\n'
        f"ModuleNotFoundError: No module named 'sep'\n{end}{JAVA}\n\nDriver stacktrace:{JAVA}"
    )
    assert not_loaded(text) == (
        "The Python workers of Spark could not load Kira, before any frame was read: "
        "ModuleNotFoundError: No module named 'sep'"
    )

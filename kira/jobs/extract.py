"""Spark application: extract the sources of one batch of staged frames.

    spark-submit kira/jobs/extract.py --manifest hdfs://…/staged.jsonl

It is given a manifest and lists no directories. Frames are read in the Python workers, so that no pixel passes through
the JVM. Thin: all logic is in `kira.stages.extraction`.
"""

import argparse
import json
import logging
import re
import socket
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from kira.errors import InvalidInput, SparkTaskFailed, StorageError
from kira.extraction import Profile
from kira.extraction.limits import FrameLimits
from kira.jobs import placement
from kira.jobs.executors import Cores, cores_of, machine_here
from kira.jobs.failure import given_up, mark, not_loaded
from kira.jobs.shipping import check_same, ship
from kira.ledger import Outcome
from kira.records import facts
from kira.stages import memory
from kira.stages.extraction import (
    PROGRESS,
    JobNotes,
    Measured,
    Task,
    TaskRun,
    extract_batch,
    finished,
    forget_failure,
    get_ready,
    note_failure,
    timed_task,
)
from kira.storage import Manifest, Store, open_store

log = logging.getLogger("kira.extract")
_PROGRESS_SECONDS = 2.0
_SECRET = re.compile(r"(?i)secret|password|token|access[.]?key")
"""What Spark itself does not show (spark.redaction.regex)."""


def main() -> None:
    """Run the application."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", required=True, help="URI of the manifest that the stage stage wrote")
    arguments = parser.parse_args()

    store = open_store(Manifest.root_of(arguments.manifest))
    manifest = Manifest.load(store, arguments.manifest)
    forget_failure(store, manifest)
    try:
        _extract(store, manifest)
    except Exception as error:
        # Spark's log says it too, under a thousand lines of Java; who starts the job reads this.
        with suppress(StorageError):
            note_failure(store, manifest, error)
        raise


def _extract(store: Store, manifest: Manifest) -> None:
    if finished(store, manifest):
        log.info("batch %s was extracted before: nothing to do", manifest.batch)
        return
    store.delete(f"{manifest.folder}/{PROGRESS}")  # of an attempt before this one
    limits = FrameLimits.from_environment()
    parameters = _parameters(store, f"{manifest.folder}/parameters.json")
    if manifest.entries:
        _run_on_spark(store, manifest, parameters, limits)
    else:
        extract_batch(store, manifest, parameters, 1, lambda _tasks: [])
        log.info("batch %s has no frame that got as far as this", manifest.batch)


def _parameters(store: Store, path: str) -> Profile:
    try:
        return Profile.from_dict(json.loads(store.read(path)))
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{store.uri(path)} holds no extraction parameters: {error}") from error


def _run_on_spark(store: Store, manifest: Manifest, parameters: Profile, limits: FrameLimits) -> None:
    from pyspark import SparkConf, SparkContext

    SparkContext._ensure_initialized()  # else a configuration does not know what spark-submit was told
    # No SparkSession: nothing here is SQL, and setting that up takes seconds.
    context = SparkContext.getOrCreate(ship(SparkConf().setAppName(f"kira extract {manifest.batch}")))
    notes = JobNotes()
    notes.versions["spark"] = context.version
    machines: dict[str, Any] = {}
    hosts: dict[str, tuple[str, ...]] = {}

    def run_all(tasks: Sequence[Task]) -> Iterable[list[Measured]]:
        frames = sum(len(task.entries) for task in tasks)
        log.info("%d frames in %d tasks on %d cores", frames, len(tasks), cores.most)
        over = threading.Event()
        watcher = threading.Thread(target=_report, args=(context, store, manifest, tasks, over), daemon=True)
        watcher.start()
        try:
            results = placement.rdd(context, tasks, hosts).map(_in_worker).collect()
        except Exception as error:
            if sentence := given_up(str(error), tasks, store):
                raise SparkTaskFailed(sentence) from error
            raise
        finally:
            over.set()
            watcher.join()
        notes.tasks += [done for _, done, _ in results]
        machines.update(machine for *_, machine in results)  # of executors that came later
        return [measured for measured, *_ in results]

    try:
        where = placement.Placement(context, store, manifest.entries)
        cores = cores_of(context, len(manifest.entries))
        machines |= _load_workers(context, parameters, cores)
        hosts = where.hosts()
        packed_by = hosts if where.kind == placement.BY_HOST else None
        notes.about = {"code": facts.code(), "machines": machines, "spark": _configuration(context)}
        notes.versions |= _of_java(context)
        measured = extract_batch(store, manifest, parameters, cores.most, run_all, limits, notes, packed_by)
    finally:
        context.stop()
    good = sum(Outcome(one.outcome).good for one in measured)
    sources = sum(one.sources for one in measured)
    log.info("batch %s: %d of %d frames extracted, %d sources", manifest.batch, good, len(measured), sources)


def _load_workers(context: Any, parameters: Profile, cores: Cores) -> dict[str, Any]:
    """Have workers load what they need, which takes seconds, before the first frame; returns their machines by host.

    A worker that comes later does so before its first task.
    """
    load = partial(_load, parameters, facts.sources_sha256(facts.PACKAGE))
    try:
        return dict(context.parallelize(range(cores.now), cores.now).map(load).collect())
    except Exception as error:
        raise SparkTaskFailed(not_loaded(str(error))) from error


def _load(parameters: Profile, sources: str, _number: int) -> tuple[str, dict[str, Any]]:
    memory.without_pandas()
    check_same(sources, socket.gethostname())
    get_ready(parameters)
    return machine_here()


def _configuration(context: Any) -> dict[str, str]:
    """Effective configuration of Spark, without what its own rule takes for a secret."""
    return {name: value for name, value in sorted(context.getConf().getAll()) if not _SECRET.search(f"{name} {value}")}


def _of_java(context: Any) -> dict[str, str]:
    """Versions of what runs Spark."""
    jvm = context._jvm
    return {
        "java": str(jvm.java.lang.System.getProperty("java.version")),
        "hadoop": str(jvm.org.apache.hadoop.util.VersionInfo.getVersion()),
    }


def _in_worker(task: Task) -> tuple[list[Measured], TaskRun, tuple[str, dict[str, Any]]]:
    from pyspark import TaskContext

    context = TaskContext.get()
    attempt, number = (str(context.taskAttemptId()), context.attemptNumber()) if context else ("0", 0)
    memory.without_pandas()  # the worker may be a new one
    try:
        return *timed_task(task, attempt, number), machine_here()
    except Exception as error:
        error.add_note(mark(task, number))
        raise


def _report(context: "object", store: Store, manifest: Manifest, tasks: Sequence[Task], over: threading.Event) -> None:
    """Say how far the job is, in the log and in a small file for those who watch from elsewhere."""
    frames = len(manifest.entries)
    here = sum(len(task.entries) for task in tasks)  # fewer in the second round
    tracker = context.statusTracker()  # type: ignore[attr-defined]
    told = -1
    while True:
        stages = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
        done = sum(stage.numCompletedTasks for stage in stages if stage)
        if done != told:
            told = done
            estimate = frames - here + here * done // len(tasks)
            log.info("extract: about %d of %d frames (%d of %d tasks)", estimate, frames, done, len(tasks))
            store.write(f"{manifest.folder}/{PROGRESS}", json.dumps({"frames": estimate}).encode())
        if over.wait(_PROGRESS_SECONDS):
            return


if __name__ == "__main__":
    main()

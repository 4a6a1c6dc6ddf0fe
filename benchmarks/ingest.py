"""Scenario: the whole ingestion by Airflow, from an archive on loopback to a published catalogue."""

import json
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.cluster import servers
from benchmarks.contenders import InPool
from benchmarks.frames import FrameFile, need_room
from benchmarks.scenario import Bars, Result, Scenario, Setting, Table, Verdict
from benchmarks.spark import in_pool, our_profile
from benchmarks.timing import Spread
from kira.ledger import Outcome
from kira.sdss import FrameId
from kira.sdss.archive import Archive
from kira.stack.airflow_server import AirflowApi
from kira.stack.local import NAMES, LocalStack
from kira.stages.extraction import OUTCOMES, read_outcomes
from kira.storage import Store, open_store

DAG, ARCHIVE = "sdss_ingest", "bench"
_LONGEST = 4 * 3600.0
_BYTES_A_FRAME = 33e6
"""On the disk: compressed in the archive and in S3, plain twice in HDFS."""


class Ingest(Scenario):
    """All stages, under Airflow's scheduler."""

    name = "ingest"
    title = "The whole ingestion, from the archive to a published catalogue"
    expectation = """
    The ingestion of 500 DR12-style frames on two cores takes at most 1.15 times the unavoidable work divided by the
    cores: unpacking bz2 and extracting. The batches of a run overlap, so that one is extracted while the next is
    fetched; what comes on top is Airflow's own processes, which share the two cores, the start of a Spark driver for
    each batch, and copying to S3 and HDFS.
    """

    def run(self, setting: Setting, result: Result) -> None:
        """Unavoidable work first, then the ingestion, as often as asked for."""
        profile = our_profile()
        with tempfile.TemporaryDirectory(dir=setting.folder) as name:
            folder = Path(name)
            archive = folder / "archive"
            setting.frames.remove()  # room for two replicas of all of them
            need_room(folder, setting.sizes.frames * _BYTES_A_FRAME)
            setting.say(f"writing {setting.sizes.frames} compressed frames")
            release = setting.frames.release
            paths = setting.frames.archive(setting.sizes.frames, release, archive)
            root = archive / str(release.service)
            files = [FrameFile(FrameId.from_archive_path(str(path.relative_to(root)), release), path) for path in paths]
            ratios, table = (
                [],
                Table(
                    f"{len(files)} frames, {setting.cores} cores",
                    ["round", "s to the catalogue", "unavoidable work, s", "of it divided by the cores"],
                ),
            )
            stages: dict[str, list[float]] = defaultdict(list)
            for number in range(setting.long_repeats):
                work = self._unavoidable(in_pool(profile, folder), files, setting)
                variables = {"KIRA_SPARK_MASTER": f"local[{setting.cores},4]", "KIRA_SCHEDULE": "none"}
                with servers(set(NAMES), setting.say, setting.cores, **variables) as stack:
                    seconds, spans = ingest(stack, archive, len(files), setting)
                for stage, span in spans.items():
                    stages[stage].append(span)
                ratio = seconds / (work / setting.cores)
                ratios.append(ratio)
                setting.say(f"  round {number + 1}: {seconds:.1f} s, unavoidable work {work:.1f} s, ratio {ratio:.2f}")
                table.rows.append([str(number + 1), f"{seconds:.1f}", f"{work:.1f}", f"{ratio:.3g}"])
                result.runs.append({"seconds": seconds, "unavoidable": work, "cores": setting.cores, "spans": spans})
        middle = Spread.of(ratios).median
        result.tables += [table, _stages(stages)]
        result.verdicts.append(
            Verdict("ingestion over unavoidable work divided by the cores", middle, 1.15, True)
        )  # fmt: skip
        result.notes.append(
            "The time is from the trigger of the DAG run to the end of its last publish task, in a stack that is up. "
            "Unavoidable work is what unpacking the same files and extracting them took in a plain process pool on as "
            "many cores, added up over its workers. Files beside the frames (psField, fpM, photoObj) are not there."
        )
        if (spread := max(ratios) - min(ratios)) > 0:
            result.notes.append(f"Ratios of the rounds differ by up to {spread:.2g}.")
        result.plots.append(
            Bars(
                "ingest", "Ingestion over unavoidable work", "ratio", {"Kira": [middle, min(ratios), max(ratios)]}, 1.15
            )
        )

    def _unavoidable(self, pool: InPool, files: list[FrameFile], setting: Setting) -> float:
        run = pool.run(files, setting.cores)
        setting.tell("unpacking and extraction in a pool", 0, run)
        return run.work


def ingest(stack: LocalStack, archive: Path, frames: int, setting: Setting) -> tuple[float, dict[str, float]]:
    """Ingest an archive by a DAG run.

    Returns
    -------
    seconds : float
        From the trigger to the end of the last publish task.
    spans : dict of str to float
        Seconds of each task, added up over the batches.
    """
    base = stack.serve_archive(ARCHIVE, archive)
    known = Archive(ARCHIVE, das=f"{base}/das", sas=f"{base}/sas")
    connection = {"connection_id": f"kira_archive_{ARCHIVE}", "conn_type": "http", "extra": json.dumps(asdict(known))}
    api = AirflowApi(stack.config)
    try:
        api.set_connection(connection)
        began = time.time()
        run = api.trigger(
            DAG, {"archive": connection["connection_id"], "release": str(setting.frames.release), "profile": "survey"}
        )
        setting.say(f"  triggered {run}")
        end = time.monotonic() + _LONGEST
        while (state := api.run_state(DAG, run)) not in ("success", "failed"):
            if time.monotonic() > end:
                raise TimeoutError(f"the DAG run is {state} after {_LONGEST:.0f} s")
            time.sleep(1.0)
        tasks = api.tasks(DAG, run)
    finally:
        api.close()
    published = _published(open_store(stack.config.stage_url))
    if state != "success" or published != frames:
        raise RuntimeError(f"the DAG run ended as {state}, and {published} of {frames} frames are published")
    ended = max(_seconds(one["end_date"]) for one in tasks if "publish" in one["task_id"] and one["end_date"])
    spans: dict[str, float] = defaultdict(float)
    for one in tasks:
        if one["start_date"] and one["end_date"]:
            spans[one["task_id"]] += _seconds(one["end_date"]) - _seconds(one["start_date"])
    return ended - began, dict(spans)


def _published(store: Store) -> int:
    folders = [path.rpartition("/")[0] for path, _ in store.walk(f"{ARCHIVE}/catalog") if path.endswith(OUTCOMES)]
    return sum(Outcome(one.outcome).good for folder in folders for one in read_outcomes(store, folder))


def _stages(stages: dict[str, list[float]]) -> Table:
    table = Table("Time in Airflow's tasks, added up over batches (they overlap)", ["task", "s, each round"])
    table.rows += [[name, ", ".join(f"{span:.1f}" for span in spans)] for name, spans in stages.items()]
    return table


def _seconds(when: Any) -> float:
    return datetime.fromisoformat(str(when).replace("Z", "+00:00")).timestamp()

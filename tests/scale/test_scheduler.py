"""Airflow's own scheduler takes as many frames as Kira's 1 TB data set had through all stages; no frame is real."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kira.ledger import Ledger, Stage
from kira.ledger.status import catalogues, check, status
from kira.sdss import Release, Selection
from kira.sdss.runlist import read_run_list
from kira.stack.airflow_server import AirflowApi
from kira.stack.local import LocalStack

pytestmark = [pytest.mark.scale, pytest.mark.timeout(3600)]
DAGS = Path(__file__).with_name("dags")
FIELDS = 5_898
FRAMES = 30 * FIELDS
"""176,940: the 176,938 of Zhang et al. (2015), made up to whole fields in five bands and six camera columns."""


def cut_run_list(run_list: Path, target: Path) -> None:
    """The first runs of DR10's list, as many as make 5,898 fields of each camera column."""
    lines, left = [], FIELDS
    chosen = {}
    listed = (r for r in read_run_list(run_list.read_text()) if r.done and r.rerun == 301)
    for run in sorted(listed, key=lambda r: r.run):
        fields = min(left, run.last_field - run.first_field + 1)
        chosen[run.run] = replace(run, last_field=run.first_field + fields - 1)
        left -= fields
        if not left:
            break
    for line in run_list.read_text().splitlines():
        words = line.split()
        if not (words and words[0] == "RUNDATA"):
            lines.append(line)
        elif int(words[1]) in chosen and words[2] == "301":
            run = chosen[int(words[1])]
            lines.append(" ".join([*words[:6], f"{run.first_field:04d}", f"{run.last_field:04d}", *words[8:]]))
    target.parent.mkdir(parents=True)
    target.write_text("\n".join(lines) + "\n")


def test_a_terabyte_s_worth_of_frames(new_stack: Callable[..., LocalStack], run_list: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    cut_run_list(run_list, archive / "sas" / "dr12" / "boss" / "photo" / "redux" / "runList.par")
    parts = {"s3", "archive", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor"}
    stack = new_stack(parts, stage=f"file://{tmp_path}/stage", name="scale", dags=DAGS)
    api, ledger = AirflowApi(stack.config), Ledger(stack.config.ledger_url)
    base = stack.serve_archive("names-only", archive)
    extra = json.dumps({"name": "names-only", "das": f"{base}/das", "sas": f"{base}/sas"})
    api.set_connection({"connection_id": "kira_archive_names", "conn_type": "http", "extra": extra})
    began = time.monotonic()
    conf = {"release": "dr12", "archive": "kira_archive_names", "field_list": "run list", "batch_size": 5000}
    run = api.trigger("sdss_ingest", conf)
    while (state := api.run_state("sdss_ingest", run)) not in ("success", "failed"):
        time.sleep(5)
    tasks = api.tasks("sdss_ingest", run)
    print(f"{FRAMES:,} frames, {len(tasks)} tasks, {time.monotonic() - began:.0f} s")
    assert state == "success"
    assert sum(task["task_id"] == "batch.publish" for task in tasks) == -(-FRAMES // 5000)
    (known,) = catalogues(ledger)
    now = status(ledger, known.id, Selection(Release(12)))
    assert (now.total, now.published, now.to_do) == (FRAMES, FRAMES, 0)
    assert now.stages[Stage.PUBLISH] == {"ok": FRAMES}
    assert check(ledger, known) == []
    api.close()
    shutil.rmtree(archive)

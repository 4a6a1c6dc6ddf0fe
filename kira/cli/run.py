"""`kira run`: stack, archive, ingestion, summary."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kira.airflow_glue.request import Request
from kira.cli import report, watch
from kira.cli.archives import SDSS_DEFAULTS, Source, check_archive, choose_releases, find_source
from kira.cli.stack import StageOption, login, say
from kira.errors import KiraError, StorageError
from kira.ledger import Ledger
from kira.sample import SampleSpec, write_sample
from kira.sdss import Release, Selection
from kira.stack import requirements
from kira.stack.airflow_server import AirflowApi
from kira.stack.config import StackConfig
from kira.stack.local import LocalStack
from kira.stages.plan import report_path
from kira.storage import Store, open_store

console = Console()
_MOST_WAITS = 3
"""For runs of others that have the frames."""


def run(
    archive: Annotated[str, typer.Option(help="sample, sdss, a folder laid out like it, or a URL.")] = "sample",
    release: Annotated[str, typer.Option(help="For example dr12; several with commas. Default: all there are.")] = "",
    runs: Annotated[str, typer.Option(help="For example 94, 1000-1010. Default: all.")] = "",
    camcols: Annotated[str, typer.Option(help="For example 1-3. Default: all.")] = "",
    fields: Annotated[str, typer.Option(help="For example 11-100. Default: all.")] = "",
    bands: Annotated[str, typer.Option(help="Some of ugriz.")] = "ugriz",
    sky: Annotated[str, typer.Option(help="For example 'cone 10.5 -0.3 1' or 'box 350 10 -1 1', in degrees.")] = "",
    stage: StageOption = "",
    again: Annotated[bool, typer.Option(help="Also frames that failed for good before.")] = False,
    batch_size: Annotated[int, typer.Option(min=0, max=5000, help="Frames that travel together; 0: as suits.")] = 0,
    profile: Annotated[str, typer.Option(help="Extraction profile: survey, or kira. See docs/profiles.md.")] = "survey",
) -> None:  # fmt: skip
    """Take frames from an archive to a published catalogue, and show what became of them."""
    # Nonsense is refused before anything is started.
    bands = "".join(Selection.parse("dr12", runs, camcols, fields, bands, sky).bands)
    Request(profile=profile)
    releases = tuple(dict.fromkeys(Release.parse(name) for name in release.split(",") if name.strip()))
    check_archive(archive)
    config = StackConfig.load(stage=stage or None)
    stack = LocalStack(config, say)
    _refuse_other_stage(stack, stage)
    if not config.contained:
        requirements.check(config, with_java=True)
    if archive == "sample":
        _make_sample(config)
    console.print("Waiting for the servers" if config.contained else "Starting the local stack", style="bold")
    if not config.with_hdfs:
        say(
            f"Staging to {config.stage_url} instead of HDFS"
            + (", as STAGE says." if stage else ", as before (STAGE=hdfs for HDFS).")
        )
    if not config.contained:
        # While the servers come up: the first Spark tasks would wait for it.
        subprocess.Popen([sys.executable, "-m", "kira.extraction.compiled"], stdin=subprocess.DEVNULL)
    stack.up()
    source = choose_releases(find_source(archive, _sample_folder(config), stack), releases)
    conf = {
        "archive": source.connection_id, "runs": runs, "camcols": camcols, "fields": fields, "bands": bands, "sky": sky,
        "again": again, "batch_size": batch_size, "profile": profile,
    }  # fmt: skip
    if archive == "sdss" and not (runs or camcols or fields or sky):
        conf |= {name: SDSS_DEFAULTS[name] for name in ("runs", "camcols", "fields")}
        say("The whole archive holds 17 TB: taking run 94, camcol 1, fields 11-13. Choose with RUNS= CAMCOLS= FIELDS=")
    _ingest(config, source, conf)


def _ingest(config: StackConfig, source: Source, conf: dict[str, Any]) -> None:
    api, ledger, store = AirflowApi(config), Ledger(config.ledger_url), open_store(config.stage_url)
    try:
        api.set_connection(source.connection)
        # What the trigger form of Airflow's UI takes by default is the archive that was used last.
        api.set_connection(source.connection | {"connection_id": "kira_archive"})
        what = ", ".join(map(str, source.releases))
        console.print(f"Ingesting {what} from {_describe(source)}", style="bold", soft_wrap=True)
        started = {str(r): api.trigger(watch.DAG, conf | {"release": str(r)}) for r in source.releases}
        states = _follow(watch.Watch(config, api, ledger, store, source.archive.name, started, console))
        reports = _reports(store, source, started)
        # A run that a power cut interrupted is taken up again by Airflow, and its frames are left to it.
        for _ in range(_MOST_WAITS):
            waiting = [name for name, one in reports.items() if one["plan"]["elsewhere"]]
            if not waiting:
                break
            others = _at_work(api, source, waiting)
            frames = sum(reports[name]["plan"]["elsewhere"] for name in waiting)
            say(
                f"{frames:,} frames are at work in another run ({', '.join(others.values()) or 'just ended'}): waiting."
            )
            if others:
                _follow(watch.Watch(config, api, ledger, store, source.archive.name, others, console))
            again = {name: api.trigger(watch.DAG, conf | {"release": name, "again": False}) for name in waiting}
            started |= again
            states |= _follow(watch.Watch(config, api, ledger, store, source.archive.name, again, console))
            reports |= _reports(store, source, again)
        synthetic = source.synthetic or any(one["synthetic"] for one in reports.values())
        report.show(console, reports, synthetic=synthetic)
        console.print(login(config), highlight=False, soft_wrap=True)
        console.print(
            f"The stack stays up: {config.overview} says what runs, {_stop(config)} stops it.", highlight=False
        )
        if left := sum(one["plan"]["left"] for one in reports.values()):
            console.print(
                f"{left:,} frames are left: Airflow goes on with them in a run that follows; see kira status."
            )
        _fail_if_failed(config, api, started, states)
        if not any(one["plan"]["found"] or one["plan"]["missing"] for one in reports.values()):
            raise KiraError(
                f"{source.archive.name} has no frame of this selection: check RELEASE, RUNS, CAMCOLS, FIELDS."
            )
    finally:
        api.close()


def _reports(store: Store, source: Source, runs: dict[str, str]) -> dict[str, Any]:
    reports = {}
    for name, run_id in runs.items():
        try:
            reports[name] = json.loads(store.read(report_path(source.archive.name, run_id, "report")))
        except StorageError:
            continue  # the run failed before its summary, which is said at the end
    return reports


def _at_work(api: AirflowApi, source: Source, releases: list[str]) -> dict[str, str]:
    """Runs that are queued or at work on an archive, by release."""
    wanted = {"state": ["queued", "running"], "limit": 100}
    runs = api.call("GET", f"/dags/{watch.DAG}/dagRuns", params=wanted)["dag_runs"]
    found = {}
    for run in runs:
        conf = run.get("conf") or {}
        if conf.get("archive") == source.connection_id and conf.get("release") in releases:
            found[str(conf["release"])] = str(run["dag_run_id"])
    return found


def _stop(config: StackConfig) -> str:
    return "make compose-down" if config.contained else "make stop"


def _follow(watching: watch.Watch) -> dict[str, str]:
    try:
        return watching.follow()
    except KeyboardInterrupt:
        config = watching.config
        console.print(f"Stopped watching. What Airflow runs goes on: see {config.overview}, or {_stop(config)}.")
        raise typer.Exit(130) from None


def _fail_if_failed(config: StackConfig, api: AirflowApi, started: dict[str, str], states: dict[str, str]) -> None:
    failures = []
    for release, run_id in started.items():
        if states[release] == "success":
            continue
        failed = [task for task in api.tasks(watch.DAG, run_id) if task["state"] == "failed"]
        # The summary fails because another task did; what that one says is nearer to the cause.
        first = sorted(failed, key=lambda task: task["task_id"] == "summary")[:1]
        failures += [f"{release}: {task['task_id']} failed: {watch.last_error(config, run_id, task)}" for task in first]
    if failures:
        raise KiraError("The ingestion did not end well. " + " ".join(failures))


def _describe(source: Source) -> str:
    if source.synthetic:
        return f"a sample archive (synthetic frames made by Kira, in {source.folder})"
    return str(source.folder or f"{source.archive.das} and {source.archive.sas}")


def _refuse_other_stage(stack: LocalStack, stage: str) -> None:
    if stage and stack.supervisor.processes() is not None and StackConfig.load(stack.config.home).stage != stage:
        raise KiraError("The stack runs with another STAGE: make stop, then make run again.")


def _sample_folder(config: StackConfig) -> Path:
    return config.sample


def _make_sample(config: StackConfig) -> None:
    columns = (
        TextColumn("  {task.description}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("rendering synthetic frames", total=None)

        def progress(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)
            if not console.is_terminal:
                say(f"rendering synthetic frames: {done} of {total}")

        console.print("Making the sample archive (synthetic frames)", style="bold")
        write_sample(SampleSpec(), _sample_folder(config), progress=progress)

"""`kira schedule`: what scheduled runs of `sdss_ingest` ingest."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from kira.airflow_glue.request import STANDING, Request
from kira.cli.archives import check_archive, find_source
from kira.cli.stack import say
from kira.errors import KiraError, StackError
from kira.stack.airflow_server import AirflowApi
from kira.stack.config import StackConfig
from kira.stack.local import LocalStack

app = typer.Typer(help=__doc__, no_args_is_help=True)
console = Console()
DAG = "sdss_ingest"


@contextmanager
def running_stack() -> Iterator[tuple[LocalStack, AirflowApi]]:
    """The local stack and its Airflow; a sentence if it does not run."""
    config = StackConfig.load()
    stack = LocalStack(config, say)
    if not stack.runs():
        raise KiraError("The stack does not run: start it with make run, or kira stack up.")
    api = AirflowApi(config)
    try:
        yield stack, api
    finally:
        api.close()


@app.command("set")
def set_(
    archive: Annotated[str, typer.Option(help="sample, sdss, a folder laid out like it, or a URL.")] = "sdss",
    release: Annotated[str, typer.Option(help="For example dr12.")] = "dr12",
    runs: Annotated[str, typer.Option(help="For example 94, 1000-1010. Default: all.")] = "",
    camcols: Annotated[str, typer.Option(help="For example 1-3. Default: all.")] = "",
    fields: Annotated[str, typer.Option(help="For example 11-100. Default: all.")] = "",
    bands: Annotated[str, typer.Option(help="Some of ugriz.")] = "ugriz",
    sky: Annotated[str, typer.Option(help="For example: cone 10.5 -0.3 1.0. Default: all.")] = "",
    batch_size: Annotated[int, typer.Option(help="Frames that travel together; 0: as many as suit.")] = 0,
    max_batches: Annotated[int, typer.Option(help="Batches in one run.")] = 100,
    field_list: Annotated[str, typer.Option(help="index pages, or run list.")] = "index pages",
    profile: Annotated[str, typer.Option(help="Extraction profile: survey, or kira. See docs/profiles.md.")] = "survey",
) -> None:
    """Ingest this whenever the schedule says so."""
    # Nonsense is refused before anything is changed.
    asked = Request(
        release=release, runs=runs, camcols=camcols, fields=fields, bands=bands, sky=sky, batch_size=batch_size,
        max_batches=max_batches, field_list=field_list, profile=profile,
    )  # fmt: skip
    selection = asked.selection()
    check_archive(archive)
    with running_stack() as (stack, api):
        source = find_source(archive, stack.config.sample, stack)
        api.set_connection(source.connection)
        value = asked.as_dict() | {"archive": source.connection_id, "release": str(selection.release)}
        del value["again"]
        api.set_variable(STANDING, json.dumps(value), "standing selection of scheduled runs: kira schedule")
        console.print(f"Scheduled runs ingest {selection} from {source.archive.name}.", soft_wrap=True)
        console.print(_when(api), soft_wrap=True)


@app.command()
def show() -> None:
    """Say what scheduled runs ingest, and when the next one is."""
    with running_stack() as (_, api):
        text = api.variable(STANDING)
        if text is None:
            console.print("No standing selection is set: scheduled runs have nothing to do. See kira schedule set.")
        else:
            request = Request.standing(_json(text))
            console.print(f"Scheduled runs ingest {request.selection()} from {request.archive}.", soft_wrap=True)
        console.print(_when(api), soft_wrap=True)


@app.command()
def off() -> None:
    """Let scheduled runs have nothing to do; whatever is published stays."""
    with running_stack() as (_, api):
        if api.variable(STANDING) is None:
            console.print("No standing selection was set.")
            return
        api.call("DELETE", f"/variables/{STANDING}")
        console.print("Scheduled runs have nothing to do from now on.")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None  # which is refused with a sentence


def _when(api: AirflowApi) -> str:
    try:
        dag = api.call("GET", f"/dags/{DAG}")
    except StackError as error:
        return str(error)
    if dag["is_paused"]:
        return f"{DAG} is paused: scheduled runs wait until it is not."
    if not dag.get("next_dagrun_run_after"):
        return f"{DAG} has no schedule (KIRA_SCHEDULE=none): it runs when it is triggered."
    return f"Schedule: {dag['timetable_description'] or dag['timetable_summary']}; next {dag['next_dagrun_run_after']}."

"""`kira backfill`: older data releases through Airflow's own backfill, and what they would cost before that."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from kira.airflow_glue.request import Request
from kira.cli.archives import check_archive, find_source
from kira.cli.schedule import running_stack
from kira.cli.stack import say
from kira.errors import InvalidInput, KiraError, NotInArchive, StackError
from kira.extraction import Profile
from kira.ledger import Ledger
from kira.sdss import ALL_RELEASES, Release
from kira.sdss.archive import ArchiveClient
from kira.stack.airflow_server import AirflowApi
from kira.stages.cost import Cost, cost

app = typer.Typer(help=__doc__, no_args_is_help=True)
console = Console()
DAG = "sdss_backfill"

First = Annotated[str, typer.Option("--from", help="First release, for example dr1.")]
Last = Annotated[str, typer.Option("--to", help="Last release, for example dr7.")]
ArchiveOption = Annotated[str, typer.Option(help="sample, sdss, a folder laid out like it, or a URL.")]
Runs = Annotated[str, typer.Option(help="For example 94, 1000-1010. Default: all.")]
Camcols = Annotated[str, typer.Option(help="For example 1-3. Default: all.")]
Fields = Annotated[str, typer.Option(help="For example 11-100. Default: all.")]
Bands = Annotated[str, typer.Option(help="Some of ugriz.")]
ProfileName = Annotated[str, typer.Option("--profile", help="Extraction profile: survey, or kira.")]
Sky = Annotated[str, typer.Option(help="For example: cone 10.5 -0.3 1.0. Default: all.")]


@app.command()
def estimate(
    first: First, last: Last, archive: ArchiveOption = "sdss", runs: Runs = "", camcols: Camcols = "",
    fields: Fields = "", bands: Bands = "ugriz", sky: Sky = "", profile: ProfileName = "survey",
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:  # fmt: skip
    """Say what a backfill would cost: frames, GB, and hours by the ledger's own rates. Nothing is begun."""
    releases = _releases(first, last)
    asked = [
        Request(release=str(r), runs=runs, camcols=camcols, fields=fields, bands=bands, sky=sky, profile=profile)
        for r in releases
    ]
    selections, slug = [one.selection() for one in asked], Profile.named(profile).slug
    check_archive(archive)
    costs: list[Cost] = []
    absent: list[str] = []
    with running_stack() as (stack, _):
        source = find_source(archive, stack.config.sample, stack)
        ledger = Ledger(stack.config.ledger_url)
        with ArchiveClient(source.archive) as client:
            for selection in selections:
                try:
                    costs.append(cost(ledger, client, selection, slug, (lambda _: None) if as_json else say))
                except NotInArchive as error:
                    absent.append(str(error))
    if as_json:
        console.print_json(json.dumps({"releases": [one.as_dict() for one in costs], "not in the archive": absent}))
        return
    _show(costs)
    for sentence in absent:
        console.print(sentence, soft_wrap=True)


def _show(costs: list[Cost]) -> None:
    table = Table(title="What a backfill would cost")
    for name in ("release", "frames", "published", "to do", "GB", "hours"):
        table.add_column(name, justify="left" if name == "release" else "right")
    for one in costs:
        table.add_row(
            one.release, f"{one.frames:,}", f"{one.published:,}", f"{one.to_do:,}",
            "unknown" if one.size is None else f"{one.size / 1e9:,.2f}",
            "no rates yet" if one.hours is None else f"about {one.hours:,.2f}",
        )  # fmt: skip
    console.print(table)
    if any(one.hours is not None for one in costs):
        console.print("Hours: by what the same stages took before, one batch after the other.")
    if sum(Release.parse(one.release).number <= 7 for one in costs) > 1:
        console.print("The archive keeps DR1 to DR7 in one tree: each of them counts the frames of all.")


@app.command()
def create(
    first: First, last: Last, archive: ArchiveOption = "sdss", runs: Runs = "", camcols: Camcols = "",
    fields: Fields = "", bands: Bands = "ugriz", sky: Sky = "", profile: ProfileName = "survey",
    max_active_runs: Annotated[int, typer.Option(min=1, max=16, help="Releases at a time.")] = 1,
    backwards: Annotated[bool, typer.Option(help="The newest release first.")] = False,
    reprocess: Annotated[str, typer.Option(help="Releases that were run before: none, failed, completed.")] = "failed",
) -> None:  # fmt: skip
    """Begin a backfill, or go on with one that was stopped: what is published is not done again."""
    releases = _releases(first, last)
    asked = Request(runs=runs, camcols=camcols, fields=fields, bands=bands, sky=sky, profile=profile)
    asked.selection()
    if reprocess not in ("none", "failed", "completed"):
        raise InvalidInput(f"reprocess: {reprocess!r} is none of none, failed, completed.")
    check_archive(archive)
    with running_stack() as (stack, api):
        source = find_source(archive, stack.config.sample, stack)
        api.set_connection(source.connection)
        conf = {name: value for name, value in asked.as_dict().items() if name in _CONF}
        body = {
            "dag_id": DAG, "from_date": f"{releases[0].date}T00:00:00Z", "to_date": f"{releases[-1].date}T00:00:00Z",
            "run_backwards": backwards, "max_active_runs": max_active_runs, "reprocess_behavior": reprocess,
            "dag_run_conf": conf | {"archive": source.connection_id},
        }  # fmt: skip
        made = _create(api, body)
        console.print(
            f"Backfill {made['id']} takes {', '.join(map(str, releases))} from {source.archive.name}, "
            f"{max_active_runs} at a time. See kira backfill show.", soft_wrap=True,
        )  # fmt: skip


def _create(api: AirflowApi, body: dict[str, Any]) -> dict[str, Any]:
    try:
        made: dict[str, Any] = api.call("POST", "/backfills", json=body)
    except StackError as error:
        if " 409 " in str(error):
            raise KiraError(
                "A backfill is at work already, and Airflow takes one at a time: see kira backfill show, or stop it by "
                "kira backfill cancel."
            ) from error
        raise
    return made


_CONF = ("runs", "camcols", "fields", "bands", "sky", "profile")


@app.command()
def show() -> None:
    """Say which backfills there are, and how far their releases came."""
    with running_stack() as (_, api):
        for one in _backfills(api):
            state = "ended" if one["completed_at"] else "paused" if one["is_paused"] else "at work"
            console.print(
                f"Backfill {one['id']}: {one['from_date'][:10]} to {one['to_date'][:10]}, {state}.", highlight=False
            )
        table = Table(title=f"Runs of {DAG}")
        for name in ("release", "run", "state"):
            table.add_column(name)
        for run in _runs(api):
            table.add_row(_release_of(run), run["dag_run_id"], run["state"])
        console.print(table)


@app.command()
def pause() -> None:
    """Begin no further release; the one at work goes on to its end."""
    with running_stack() as (_, api):
        one = _active(api)
        api.call("PUT", f"/backfills/{one['id']}/pause")
        console.print(f"Backfill {one['id']} is paused; go on with: kira backfill resume")


@app.command()
def resume() -> None:
    """Go on with a backfill that is paused."""
    with running_stack() as (_, api):
        one = _active(api)
        api.call("PUT", f"/backfills/{one['id']}/unpause")
        console.print(f"Backfill {one['id']} goes on.")


@app.command()
def cancel() -> None:
    """Stop a backfill, with what is at work; nothing is lost, and `create` goes on with it."""
    with running_stack() as (_, api):
        one = _active(api)
        api.call("PUT", f"/backfills/{one['id']}/cancel")
        at_work = [run["dag_run_id"] for run in _runs(api) if run["state"] in ("queued", "running")]
        for run in at_work:
            api.call("PATCH", f"/dags/{DAG}/dagRuns/{run}", json={"state": "failed"})
        console.print(f"Backfill {one['id']} is cancelled, and {len(at_work)} runs of it are stopped.")


def _releases(first: str, last: str) -> list[Release]:
    low, high = Release.parse(first), Release.parse(last)
    if low > high:
        raise InvalidInput(f"--from {low} is after --to {high}.")
    return [release for release in ALL_RELEASES if low <= release <= high]


def _backfills(api: AirflowApi) -> list[dict[str, Any]]:
    found = api.call("GET", "/backfills", params={"dag_id": DAG, "limit": 100, "order_by": "-id"})["backfills"]
    return list(reversed(found))


def _active(api: AirflowApi) -> dict[str, Any]:
    for one in _backfills(api):
        if not one["completed_at"]:
            return one
    raise KiraError("There is no backfill at work.")


def _runs(api: AirflowApi) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.call("GET", f"/dags/{DAG}/dagRuns", params={"limit": 100})["dag_runs"]
    return sorted(found, key=lambda run: run["logical_date"] or "")


def _release_of(run: dict[str, Any]) -> str:
    if conf := (run.get("conf") or {}).get("go_on_with"):
        return str(conf)
    try:
        return str(next(r for r in ALL_RELEASES if str(r.date) == (run["logical_date"] or "")[:10]))
    except StopIteration:
        return "none"

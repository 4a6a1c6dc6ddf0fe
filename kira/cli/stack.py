"""`kira stack`: start, stop and look at the local servers."""

import os
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from kira.errors import StackError
from kira.stack import airflow_server, containers
from kira.stack.airflow_server import USER
from kira.stack.config import StackConfig
from kira.stack.local import NAMES, LocalStack

app = typer.Typer(help=__doc__, no_args_is_help=True)
console = Console()
StageOption = Annotated[
    str, typer.Option(help="Where frames are staged: hdfs (the stack's own), or file:///some/folder.")
]


def say(text: str) -> None:
    """One line of progress."""
    console.print(f"  {text}", highlight=False, soft_wrap=True, markup=False)


@app.command()
def up(stage: StageOption = "") -> None:
    """Start all servers, and wait until they answer."""
    LocalStack(StackConfig.load(stage=stage or None), say).up()


@app.command()
def down() -> None:
    """Stop all servers; their data stays."""
    stopped = LocalStack(StackConfig.load(), say).down()
    console.print("The stack is stopped; its data stays." if stopped else "Nothing ran.")


@app.command()
def status() -> None:
    """Say what runs, and where."""
    config = StackConfig.load()
    table = Table(title="The local stack")
    for name in ("part", "state", "address"):
        table.add_column(name)
    states = LocalStack(config).status()
    for name, (state, address) in states.items():
        table.add_row(NAMES[name], f"[{'green' if state == 'running' else 'red'}]{state}[/]", address)
    console.print(table)
    if not config.with_hdfs:
        console.print(f"Staging to {config.stage_url}; HDFS is not part of this stack.")
    if states["airflow-api-server"][0] == "running":
        console.print(login(config), highlight=False, soft_wrap=True)


@app.command()
def serve(role: Annotated[str, typer.Argument(help=f"One of {', '.join(containers.ROLES)}.")]) -> None:
    """Be one server of the stack, in a container of its own; see docker-compose.yml."""
    containers.serve(StackConfig.load(), role)


@app.command(
    "airflow", add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def airflow_command(context: typer.Context) -> None:
    """Run a command of Airflow's own, with this stack's settings: its database, its DAGs, its keys."""
    config = StackConfig.load()
    if not LocalStack(config).runs():
        raise StackError("The stack does not run, and with it Airflow's database: start it with make run.")
    command = [sys.executable, "-m", "airflow", *context.args]
    os.execve(command[0], command, airflow_server.environment(config))  # noqa: S606 - of the user's own typing


def login(config: StackConfig) -> str:
    """How to log in to Airflow's UI."""
    if config.contained:
        page = os.environ.get("KIRA_AIRFLOW_PAGE") or config.url("airflow")
        return f"Airflow's UI: {page} , user {USER}; the password is KIRA_AIRFLOW_PASSWORD in the file .env."
    return (
        f"Airflow's UI: {config.url('airflow')} , user {USER}, password {config.secrets.airflow_password} "
        f"(kept in {config.home / 'secrets.json'})"
    )

"""The command `kira`."""

import subprocess
import sys

import psutil
import typer
from rich.console import Console
from rich.markup import escape

from kira.cli import (
    backfill,
    cluster,
    datasets,
    export,
    extract,
    mirror,
    query,
    records,
    run,
    schedule,
    show,
    sky,
    stack,
    status,
)
from kira.errors import KiraError

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("run")(run.run)
app.command("extract")(extract.extract)
app.command("show")(show.show)
app.command("export")(export.export)
app.command("status")(status.status)
app.command("record")(records.record)
app.command("reproduce")(records.reproduce_command)
app.add_typer(query.app, name="query")
app.add_typer(stack.app, name="stack")
app.add_typer(schedule.app, name="schedule")
app.add_typer(backfill.app, name="backfill")
app.add_typer(mirror.app, name="mirror")
app.add_typer(sky.app, name="sky")
app.add_typer(datasets.app, name="datasets")
app.add_typer(cluster.app, name="cluster")


def main() -> None:
    """Run a command; an error that was foreseen is one sentence."""
    try:
        app()
    except (KiraError, OSError, subprocess.TimeoutExpired, psutil.Error) as error:
        # Markup is ours alone: a path or a server's message may hold brackets.
        Console(stderr=True).print("[bold red]kira:[/]", escape(str(error)), soft_wrap=True, highlight=False)
        sys.exit(1)

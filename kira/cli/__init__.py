"""The command `kira`."""

import sys

import typer
from rich.console import Console

from kira.cli import run, stack
from kira.errors import KiraError

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("run")(run.run)
app.command("export")(run.export)
app.add_typer(stack.app, name="stack")


def main() -> None:
    """Run a command; an error that was foreseen is one sentence."""
    try:
        app()
    except KiraError as error:
        Console(stderr=True).print(f"[bold red]kira:[/] {error}", soft_wrap=True, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("\nStopped watching. What Airflow runs goes on: see make status, or make stop.")
        sys.exit(130)

"""`kira cluster`: what Spark's executors on other machines need."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kira.jobs.environment import PYTHON, pack

app = typer.Typer(help=__doc__, no_args_is_help=True)
console = Console()


@app.callback()
def _group() -> None:
    pass  # with one command alone typer would make it the group


@app.command("pack")
def pack_command(
    target: Annotated[Path, typer.Argument(help="File to write, for example environment.tar.gz.")],
    python: Annotated[bool, typer.Option("--python", help="Take Python itself along too.")] = False,
) -> None:
    """Pack the Python packages that workers need into an archive for spark.archives (docs/clusters.md)."""
    names = pack(target, python=python)
    console.print(f"{target}: {len(names)} packages, {target.stat().st_size / 1e6:.0f} MB.", soft_wrap=True)
    console.print("Put it where all machines see it (hdfs://, a shared folder), and into KIRA_SPARK_PROPERTIES:")
    console.print(f"  spark.archives                 <its URL>/{target.name}#environment", markup=False, soft_wrap=True)
    console.print("  spark.executorEnv.PYTHONPATH   ./environment")
    if python:
        console.print(f"  spark.pyspark.python           ./environment/{PYTHON}/bin/python3")

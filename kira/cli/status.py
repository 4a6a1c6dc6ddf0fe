"""`kira status`: how many frames are where, which are not published and why, and whether the sums agree."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kira.errors import InvalidInput, KiraError, StorageError
from kira.ledger import Ledger, Outcome, Stage
from kira.ledger import status as states
from kira.ledger.status import NOT_REACHED, RETRYING, Known, Status, Unpublished
from kira.sdss import Release, Selection
from kira.sdss.archive import NAME_PATTERN
from kira.stack.config import StackConfig
from kira.stack.local import LocalStack
from kira.stages.catalogue import folders
from kira.storage import open_store

console = Console()
_GOOD = {str(outcome) for outcome in Outcome if outcome.good}


def status(
    archive: Annotated[str, typer.Option(help="Name of an archive, as in the catalogue's path. Default: all.")] = "",
    release: Annotated[str, typer.Option(help="For example dr12. Default: all that the ledger knows.")] = "",
    runs: Annotated[str, typer.Option(help="For example 94, 1000-1010. Default: all.")] = "",
    camcols: Annotated[str, typer.Option(help="For example 1-3. Default: all.")] = "",
    fields: Annotated[str, typer.Option(help="For example 11-100. Default: all.")] = "",
    bands: Annotated[str, typer.Option(help="Some of ugriz.")] = "ugriz",
    why: Annotated[bool, typer.Option("--why", help="List what is not published, with reason and advice.")] = False,
    waiting: Annotated[bool, typer.Option("--waiting", help="With --why: also what waits for its turn.")] = False,
    most: Annotated[int, typer.Option(min=1, help="With --why: list so many frames at most.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts: one JSON object.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Prove that the sums agree; exit status 1 if not.")] = False,
) -> None:  # fmt: skip
    """Say where all frames are: stages by outcomes, for what the ledger knows or a selection of it."""
    Selection.parse(release or "dr1", runs, camcols, fields, bands)  # nonsense is refused first
    ledger = _ledger()
    known = list(_chosen(ledger, archive, release))
    if not known:
        raise KiraError("The ledger knows of no such frames: run an ingestion first, or choose another release.")
    found: list[dict[str, Any]] = []
    wrong: list[str] = []
    for one in known:
        selection = Selection.parse(one.release, runs, camcols, fields, bands)
        now = states.status(ledger, one.id, selection)
        told = asdict(one) | {"selection": str(selection)} | asdict(now)
        frames = states.not_published(ledger, one, selection, waiting=waiting, most=most) if why else []
        if why:
            told["not_published"] = [asdict(frame) | {"at": f"{frame.at:%Y-%m-%dT%H:%M:%SZ}"} for frame in frames]
        if check:
            told["disagreements"] = states.check(ledger, one) + _with_the_store(ledger, one)
            wrong += told["disagreements"]
        found.append(told)
        if not as_json:
            _show(one, selection, now)
            if why:
                _explain(frames, most)
    if as_json:
        # Not by rich: a script wants the text as it is.
        typer.echo(json.dumps({"catalogues": found}, indent=1))
    if wrong:
        raise KiraError("The sums do not agree: " + " ".join(wrong))
    if check and not as_json:
        console.print("The sums agree.", style="green")


def _ledger() -> Ledger:
    url = os.environ.get("KIRA_LEDGER_URL")
    if url:
        return Ledger(url)
    config = StackConfig.load()
    if not config.contained and not (config.home / "ledger.db").exists():
        raise KiraError(
            f"There is no ledger in {config.home} yet: run an ingestion first, or name another one by KIRA_LEDGER_URL."
        )
    return Ledger(config.ledger_url)


def _chosen(ledger: Ledger, archive: str, release: str) -> Iterator[Known]:
    import re

    if archive and not re.fullmatch(NAME_PATTERN, archive, re.ASCII):
        raise InvalidInput(f"{archive!r} cannot be the name of an archive; use up to 40 of a-z, 0-9 and '-'.")
    wanted = str(Release.parse(release)) if release else ""
    for one in states.catalogues(ledger):
        if archive in ("", one.archive) and wanted in ("", one.release):
            yield one


def _with_the_store(ledger: Ledger, known: Known) -> list[str]:
    """Whether the batches that the ledger says are published are the folders that a reader sees."""
    url = os.environ.get("KIRA_STAGE_URL", "")
    if not url:
        config = StackConfig.load()
        if config.with_hdfs and not LocalStack(config).runs():
            # Not among what a script reads.
            Console(stderr=True).print(
                "Not compared with the catalogue's folders: the stack does not run, and with it HDFS.", soft_wrap=True
            )
            return []
        url = config.stage_url
    try:
        there = set(dict(folders(open_store(url), known.archive, known.release, known.profile)))
    except StorageError as error:
        return [f"The catalogue could not be looked at: {error}"]
    told = ledger.published_batches(known.id)
    sentences = [f"Batch {name} is said to be published, and is not there." for name in sorted(told - there)]
    return sentences + [f"Batch {name} is published, and the ledger does not know." for name in sorted(there - told)]


def _show(known: Known, selection: Selection, now: Status) -> None:
    columns = _columns(now)
    table = Table(title=f"{known.archive}: {selection} ({known.profile})", title_justify="left")
    table.add_column("stage")
    for name in columns:
        table.add_column(name.replace("_", " "), justify="right", style=_style(name))
    table.add_column("sum", justify="right")
    for stage in Stage:
        row = now.stages[stage]
        table.add_row(stage, *(f"{row[n]:,}" if n in row else "" for n in columns), f"{sum(row.values()):,}")
    console.print(table)
    sources = sum(now.sources.values())
    console.print(
        f"{now.total:,} frames, {now.published:,} published with {sources:,} sources; {now.to_do:,} to do; "
        f"{now.withdrawn:,} withdrawn by the archive; {now.size / 1e9:,.2f} GB in the mirror",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _columns(now: Status) -> list[str]:
    """Outcomes that occur, the good ones first."""
    order = [*map(str, Outcome), RETRYING, NOT_REACHED]
    seen = {name for row in now.stages.values() for name in row}
    return sorted(seen, key=order.index)


def _style(name: str) -> str:
    if name in _GOOD:
        return "green"
    return "" if name in (NOT_REACHED, Outcome.WAITING) else "yellow" if name == RETRYING else "red"


def _explain(frames: list[Unpublished], most: int) -> None:
    if not frames:
        console.print("All others wait for their turn, or are published.")
        return
    table = Table(title="Frames that are not published", title_justify="left", show_lines=True)
    for name in ("frame", "stage", "state", "reason", "what to do"):
        table.add_column(name, overflow="fold", no_wrap=name == "frame")
    for one in frames:
        state = Outcome.WITHDRAWN if one.withdrawn else RETRYING if one.retrying else one.outcome
        table.add_row(one.frame, one.stage, state.replace("_", " "), escape(one.reason), escape(one.advice))
    console.print(table)
    if len(frames) == most:
        console.print(f"So many at most ({most}); more with --most.")

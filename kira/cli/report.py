"""The summary table at the end of an ingestion."""

import shlex
from collections import Counter
from collections.abc import Iterable
from statistics import median
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def show(console: Console, reports: dict[str, dict[str, Any]], *, synthetic: bool) -> None:
    """Print frames by outcome, sources by band, figures by stage, checks, problems and where the catalogue is.

    Parameters
    ----------
    console : rich.console.Console
    reports : dict
        Of `kira.stages.summary.summarize`, by release.
    synthetic : bool
        Whether the frames were simulated; then every table says so.
    """
    mark = " [yellow](synthetic frames)[/]" if synthetic else ""
    console.print()
    console.print(_outcomes(reports, mark))
    if any(report["sources"] for report in reports.values()):
        console.print(_sources(reports, mark))
    if any(report["plan"]["planned"] for report in reports.values()):
        console.print(_stages(reports, mark))
    if any(figures_by_band(report) for report in reports.values()):
        console.print(_validation(reports, mark))
    _caveats(console, reports)
    made = sum(report["checks"]["made"] for report in reports.values())
    failed = sum(report["checks"]["failed"] for report in reports.values())
    console.print(f"Integrity: {made:,} checks made, {failed} failed.", highlight=False)
    _problems(console, reports)
    for release, report in reports.items():
        where = report["catalogue"] or "nothing published"
        console.print(f"Catalogue {release}: {where}", highlight=False, soft_wrap=True)
    for release, report in reports.items():
        _record(console, release, report)
    plans = [report["plan"] for report in reports.values()]
    if plans and all(0 < plan["found"] == plan["published"] for plan in plans):
        console.print("All of it was done before: nothing was downloaded, staged or extracted again.", style="green")


def _record(console: Console, release: str, report: dict[str, Any]) -> None:
    """Where the run's record is, and how its catalogue is made again."""
    record = report.get("record") or {}  # an older version of Kira kept none
    if problem := record.get("problem"):
        console.print(f"{release}: {problem}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    elif record:
        console.print(
            f"Record {release}: {record['place']}; made again by: kira reproduce {shlex.quote(report['dag_run'])}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def _outcomes(reports: dict[str, dict[str, Any]], mark: str) -> Table:
    table = Table(title="Frames by outcome" + mark)
    table.add_column("outcome")
    before = {release: report["plan"]["published"] for release, report in reports.items()}
    settled = {release: report["plan"]["settled"] for release, report in reports.items()}
    rows: dict[str, Counter[str]] = {}
    for release, report in reports.items():
        table.add_column(release, justify="right")
        for outcome, frames in report["frames"].items():
            rows.setdefault(outcome.replace("_", " "), Counter())[release] += frames
    for name, counts in (("published before", before), ("failed for good before", settled)):
        if any(counts.values()):
            rows[name] = Counter(counts)
    for name, row in rows.items():
        table.add_row(name, *(str(row[release]) for release in reports))
    return table


def _sources(reports: dict[str, dict[str, Any]], mark: str) -> Table:
    table = Table(title="Sources by band" + mark)
    table.add_column("release")
    for name in (*"ugriz", "all"):
        table.add_column(name, justify="right")
    for release, report in reports.items():
        found = report["sources"]
        table.add_row(release, *(f"{found.get(band, 0):,}" for band in "ugriz"), f"{sum(found.values()):,}")
    return table


def _stages(reports: dict[str, dict[str, Any]], mark: str) -> Table:
    table = Table(title="Megabytes and seconds by stage" + mark)
    for name in ("stage", "frames", "MB", "seconds", "MB/s", "summed over frames, s"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    totals: dict[str, Counter[str]] = {}
    for report in reports.values():
        for stage, figures in report["stages"].items():
            totals.setdefault(stage, Counter()).update(figures)
    for stage, total in totals.items():
        if stage == "plan":
            continue
        megabytes, seconds = total["bytes"] / 1e6, total["wall_seconds"]
        table.add_row(
            stage, f"{total['good']:.0f} of {total['frames']:.0f}", f"{megabytes:,.1f}" if megabytes else "",
            f"{seconds:,.1f}", f"{megabytes / seconds:,.1f}" if megabytes and seconds else "",
            f"{total['frame_seconds']:,.1f}" if total["frame_seconds"] else "",
        )  # fmt: skip
    return table


def figures_by_band(report: dict[str, Any]) -> dict[str, dict[str, float | str | None]]:
    """Numbers that validation found, by band: sums, and medians over batches.

    Parameters
    ----------
    report : dict
        Of `kira.stages.summary.summarize`.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for batch in report.get("validation", ()):
        for one in batch.get("figures", ()):
            rows.setdefault(one["band"], []).append(one)
    found: dict[str, dict[str, float | str | None]] = {}
    for band in "ugriz":
        if mine := rows.get(band):
            found[band] = {
                **{name: sum(one[name] for one in mine) for name in ("frames", "sources", "matched")},
                **{name: _median(one.get(name) for one in mine) for name in _MEDIANS},
                "reference": ", ".join(sorted({one["reference"] for one in mine if one["reference"]})[:2]),
            }
    return found


_MEDIANS = ("east", "north", "zero_point", "depth_50", "flagged")


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _validation(reports: dict[str, dict[str, Any]], mark: str) -> Table:
    table = Table(title="Validation" + mark, padding=(0, 0, 0, 1), pad_edge=False)
    for name in ("release", "band", "frames", "sources", 'east "', 'north "', "mag", "50 % to", "flagged"):
        table.add_column(name, justify="left" if name in ("release", "band") else "right", no_wrap=True)
    held = {str(one["reference"]) for report in reports.values() for one in figures_by_band(report).values()} - {""}
    if held:
        table.caption = escape(f"Offsets from {'; '.join(sorted(held)[:3])}")
    for release, report in reports.items():
        for band, one in figures_by_band(report).items():
            table.add_row(
                release, band, f"{one['frames']:,}", f"{one['sources']:,}", _number(one["east"], "+.3f"),
                _number(one["north"], "+.3f"), _number(one["zero_point"], "+.3f"), _number(one["depth_50"], ".1f"),
                _number(one["flagged"], ".1%"),
            )  # fmt: skip
    return table


def _number(value: float | str | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _caveats(console: Console, reports: dict[str, dict[str, Any]]) -> None:
    """What a reader of the catalogue should know."""
    most = 20
    said = [
        f"{release}, batch {batch['batch']}: {caveat}"
        for release, report in reports.items()
        for batch in report.get("validation", ())
        for caveat in batch.get("caveats", ())
    ]
    for caveat in said[:most]:
        console.print(f"Caveat: {caveat}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if len(said) > most:
        console.print(f"… and {len(said) - most} more caveats, in the run's report.")


def _problems(console: Console, reports: dict[str, dict[str, Any]]) -> None:
    problems = [problem for report in reports.values() for problem in report["problems"]]
    if not problems:
        return
    table = Table(title="Frames that are not published", show_lines=True)
    for name in ("frame", "stage", "outcome", "reason, and what to do"):
        table.add_column(name, overflow="fold")
    most = 20
    for problem in problems[:most]:
        table.add_row(problem["frame"], problem["stage"], problem["outcome"].replace("_", " "),
                      escape(f"{problem['reason']} → {problem['advice']}"))  # fmt: skip
    console.print(table)
    if len(problems) > most:
        console.print(f"… and {len(problems) - most} more, in the run's report.")

"""The report: a table to read, a JSON to calculate with, and plots."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plots import draw
from benchmarks.scenario import Result

JSON, MARKDOWN = "report.json", "report.md"
FORMAT = 1


def write(folder: Path, told: dict[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """Write what is known so far; called after each scenario, so that one that fails takes nothing with it.

    Parameters
    ----------
    folder : Path
    told : dict
        Machine, versions, frames and how often was measured.
    results : sequence of Result

    Returns
    -------
    dict
        What the JSON holds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "kira_benchmark": FORMAT,
        "about": told,
        "scenarios": [result.as_dict() for result in results],
    }
    for scenario in report["scenarios"]:
        for plot in scenario["plots"]:
            plot["file"] = draw(plot, folder)
    _put(folder / JSON, json.dumps(report, indent=1, default=str) + "\n")
    _put(folder / MARKDOWN, markdown(report))
    return report


def markdown(report: dict[str, Any], *, plots: bool = True, level: int = 1) -> str:
    """Write a report for people, from its plain values.

    Parameters
    ----------
    report : dict
    plots : bool
        With links to the plots.
    level : int
        Of the first heading.
    """
    lines = ["# Benchmarks\n"] if level == 1 else []
    lines += [*about(report["about"]), ""]
    lines += _verdicts(report)
    for scenario in report["scenarios"]:
        lines += _scenario(scenario, plots=plots, level=level + 1)
    return "\n".join(lines).strip() + "\n"


def about(told: dict[str, Any]) -> list[str]:
    """Lines about what was measured on, and with what."""
    machine = told["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return [
        f"- **Machine**: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, load {machine['load']} when it began.",
        f"- **Versions**: Python {machine['python']}, {versions}.",
        f"- **Frames**: {told['frames']}",
        f"- **Measured**: {machine['when']}; {told['repeats']} rounds in alternation ({told['long_repeats']} where "
        "one takes minutes). Given are medians, with least and most.",
    ]


def _verdicts(report: dict[str, Any]) -> list[str]:
    rows = [
        [scenario["name"], one["what"], f"{one['value']:.3g}{one['unit']}",
         f"{'at most' if one['most'] else 'at least'} {one['limit']:g}{one['unit']}",
         "yes" if one["held"] else "**no**"]
        for scenario in report["scenarios"] for one in scenario["verdicts"]
    ]  # fmt: skip
    if not rows:
        return []
    return [*table(["scenario", "what must hold", "measured", "limit", "holds"], rows), ""]


def _scenario(scenario: dict[str, Any], *, plots: bool, level: int) -> list[str]:
    lines = [f"{'#' * level} {scenario['title']} (`{scenario['name']}`)", ""]
    lines += [f"**Expected, before it was measured**: {scenario['expectation']}", ""]
    if scenario["failed"]:
        lines += [f"**It came to no end**: {scenario['failed']}", ""]
    for one in scenario["tables"]:
        lines += [f"{one['title']}:", "", *table(one["columns"], one["rows"]), ""]
    if plots:
        lines += [f"![{plot['title']}]({plot['file']})\n" for plot in scenario["plots"]]
    if scenario["proofs"]:
        lines += ["Held before anything was timed:", "", *(f"- {proof}" for proof in scenario["proofs"]), ""]
    if scenario["notes"]:
        lines += [*(f"- {note}" for note in scenario["notes"]), ""]
    return lines


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (columns, *rows)]
    head, *rest = ("| " + " | ".join(row) + " |" for row in cells)
    return [head, "|" + "---|" * len(columns), *rest]


def _put(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.aside")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)

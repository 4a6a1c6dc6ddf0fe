"""Fill the measured parts of a page from reports, so that no number in them was written by hand.

    python -m benchmarks.document benchmarks/report/report.json [MORE.json …] docs/performance.md

What stands between two marks is replaced; the rest stays. A scenario that has marks of its own in the page, with its
name in them, goes there; all others go to those without a name, which stay as they are where no report is for them.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import FORMAT, markdown

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def marks(scenario: str) -> tuple[str, str]:
    """Return the marks of a scenario that has its own."""
    return BEGIN.replace(":", f" {scenario}:"), END.replace(":", f" {scenario}:")


def fill(page: str, *reports: dict[str, Any]) -> str:
    """Return the page with the reports between its marks, one after the other.

    Raises
    ------
    ValueError
        If the page has not exactly one pair of the marks that are needed, or a report is of another kind.
    """
    if not reports or any(report.get("kira_benchmark") != FORMAT for report in reports):
        raise ValueError("this is no report of these benchmarks, or one of another version")
    parts: dict[tuple[str, str], list[str]] = {}
    for report in reports:
        places: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for scenario in report["scenarios"]:
            own = marks(scenario["name"])
            places.setdefault(own if own[0] in page else (BEGIN, END), []).append(scenario)
        for place, scenarios in places.items():
            text = markdown(report | {"scenarios": scenarios}, plots=False, level=2)
            parts.setdefault(place, []).append(text)
    for (begin, end), texts in parts.items():
        page = _put(page, begin, end, "\n".join(texts))
    return page


def _put(page: str, begin: str, end: str, text: str) -> str:
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"the page must have {begin} and {end} once each, in this order")
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{text}\n{end}{rest.split(end)[1]}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="+")
    parser.add_argument("page", type=Path)
    given = parser.parse_args(arguments)
    try:
        page = fill(given.page.read_text("utf-8"), *(json.loads(path.read_text("utf-8")) for path in given.reports))
    except (OSError, ValueError) as error:
        print(f"{given.page} was not filled: {error}.", file=sys.stderr)
        return 2
    given.page.write_text(page, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

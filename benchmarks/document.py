"""Fill the measured part of a page from reports, so that no number in it was written by hand.

    python -m benchmarks.document benchmarks/report/report.json [MORE.json …] docs/performance.md

What stands between the page's two marks is replaced; the rest stays.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import FORMAT, markdown

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def fill(page: str, *reports: dict[str, Any]) -> str:
    """Return the page with the reports between its marks, one after the other.

    Raises
    ------
    ValueError
        If the page has not exactly one pair of marks, or the report is of another kind.
    """
    if not reports or any(report.get("kira_benchmark") != FORMAT for report in reports):
        raise ValueError("this is no report of these benchmarks, or one of another version")
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"the page must have {BEGIN} and {END} once each, in this order")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    measured = "\n".join(markdown(report, plots=False, level=2) for report in reports)
    return f"{before}{BEGIN}\n\n{measured}\n{END}{after}"


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

"""All frames of DR12 in the ledger: what planning, `kira status` and pages ask is answered, and fits into memory.

No time is asserted; each is printed (`pytest -s`).
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.ledger.status import catalogues, check, not_published, status
from kira.sdss import Release, Selection

pytestmark = [pytest.mark.scale, pytest.mark.timeout(3600)]
ALL = Selection(Release(12))
FRAMES = 4_690_230
LIMIT_MB = 1000


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - began:.3f} s")


def planned(url: str, folder: Path, run_list: Path, run: str, *arguments: str) -> dict[str, float]:
    """Plan in a process of its own, so that its memory can be told."""
    command = [sys.executable, str(Path(__file__).with_name("planner.py")), url, str(folder), str(run_list), run]
    done = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    print(run, {name: value for name, value in found.items() if name != "uris"})
    return found


def test_all_of_a_release(url: str, tmp_path: Path, run_list: Path) -> None:
    first = planned(url, tmp_path, run_list, "first")
    assert (first["found"], first["new"], first["published"]) == (FRAMES, FRAMES, 0)
    assert (first["batches"], first["planned"], first["left"]) == (100, 200_000, FRAMES - 200_000)
    # While the first run is at work the next one takes what follows.
    second = planned(url, tmp_path, run_list, "second", "--live", "first")
    assert (second["new"], second["elsewhere"], second["planned"]) == (0, 200_000, 200_000)
    assert second["left"] == FRAMES - 400_000
    assert max(first["megabytes"], second["megabytes"]) < LIMIT_MB
    assert not set(first["uris"]) & set(second["uris"])  # type: ignore[arg-type]

    ledger = Ledger(url)
    (known,) = catalogues(ledger)
    with timed("status of all"):
        now = status(ledger, known.id, ALL)
    assert now.total == FRAMES
    assert now.stages["plan"] == {"waiting": FRAMES - 400_000, "ok": 400_000}
    assert now.disagreements() == []
    with timed("status of a run"):
        run = status(ledger, known.id, Selection.parse("dr12", "94"))
    with timed("status of some fields of a run"):
        fields = status(ledger, known.id, Selection.parse("dr12", "94", "1", "11-50"))
    assert 0 < fields.total < run.total < FRAMES
    with timed("the first thousand that are not published"):
        assert len(not_published(ledger, known, ALL)) == 1000
    with timed("published batches"):
        assert ledger.published_batches(known.id) == set()
    with timed("figures of a run of 200,000 frames"):
        assert sum(row["frames"] for row in ledger.figures("first")) == 200_000
    one = next(iter(ledger.to_do(known.id, ALL))).frame
    with timed("history of a frame"):
        assert len(ledger.history("sdss", one)) == 1
    context = Context("one-more", "sdss", "dr12", known.profile, "third")
    with timed("one frame recorded"):
        ledger.record(context, Stage.MIRROR, [Record(one, Outcome.OK, size=5, sha256="ab" * 32)])
    with timed("all sums checked"):
        assert check(ledger, known) == []
    ledger.engine.dispose()

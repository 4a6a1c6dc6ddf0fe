"""Kira's pages over a ledger that has all frames of a release; none of them real.

No time is asserted; each is printed (`pytest -s`). What a page sends has a limit.
"""

import itertools
import random
import re
import time
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from test_ledger import ALL, FRAMES, planned

from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.ledger.status import catalogues
from kira.pages.app import create_app
from kira.pages.data import Data
from kira.sdss.runlist import frames_from_run_list, read_run_list
from kira.settings import Settings
from kira.stages.positions import FROM_LIST, Positions, write_positions
from kira.storage import open_store

pytestmark = [pytest.mark.scale, pytest.mark.timeout(3600)]
MOST_BYTES = 2_000_000
_WORKED_ON = 200_000


def fill(ledger: Ledger, seed: int = 1) -> None:
    """Have a run bring the frames that were planned first to an end: 97 of 100 are published."""
    rng = random.Random(seed)
    (known,) = catalogues(ledger)
    rows = (row.frame for row in ledger.to_do(known.id, ALL))
    for number in range(_WORKED_ON // 2000):
        frames = list(itertools.islice(rows, 2000))
        context = Context(f"b-{number:03}", known.archive, known.release, known.profile, "work")
        dice = {frame: rng.random() for frame in frames}
        lost = {frame for frame in frames if dice[frame] > 0.98}
        ledger.record(context, Stage.MIRROR, [
            Record(frame, Outcome.CORRUPT_UPSTREAM, "cut short") if frame in lost
            else Record(frame, Outcome.OK, size=3_000_000, checks=2) for frame in frames
        ])  # fmt: skip
        left = [frame for frame in frames if frame not in lost]
        ledger.record(context, Stage.STAGE, [Record(frame, Outcome.OK, size=12_000_000, checks=1) for frame in left])
        broken = {frame for frame in left if dice[frame] > 0.97}
        ledger.record(context, Stage.EXTRACT, [
            Record(frame, Outcome.EXTRACTION_FAILED, "no usable noise level") if frame in broken
            else Record(frame, Outcome.OK, sources=400) for frame in left
        ])  # fmt: skip
        good = [frame for frame in left if frame not in broken]
        for stage in (Stage.VALIDATE, Stage.PUBLISH):
            ledger.record(context, stage, [Record(frame, Outcome.OK, sources=400) for frame in good])


def positions(run_list: Path) -> Positions:
    """All fields, at made-up places."""
    fields = sorted(
        {(f.run, f.camcol, f.field) for f in frames_from_run_list(read_run_list(run_list.read_text()), ALL)}
    )
    run, camcol, field = np.array(fields).T
    return Positions(
        run.astype(np.int32), camcol.astype(np.int8), field.astype(np.int16),
        (run * 0.37 + field * 0.15).astype(np.float32) % 360, (camcol * 0.21 + run % 60).astype(np.float32),
        FROM_LIST,
    )  # fmt: skip


def test_pages_of_a_survey(url: str, tmp_path: Path, run_list: Path) -> None:
    assert planned(url, tmp_path, run_list, "first")["found"] == FRAMES
    settings = Settings(f"file://{tmp_path}/stage", "bucket", url)
    ledger = Ledger(url)
    began = time.perf_counter()
    fill(ledger)
    print(f"{_WORKED_ON:,} frames brought to an end: {time.perf_counter() - began:.0f} s")
    (known,) = catalogues(ledger)
    write_positions(open_store(settings.stage_url), known.archive, positions(run_list))
    frame = next(iter(ledger.to_do(known.id, ALL))).frame

    client = TestClient(create_app(Data(lambda: settings), []), raise_server_exceptions=True)
    seen: dict[str, tuple[int, float, int]] = {}

    def look(path: str) -> str:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            answer = client.get(path)
            times.append(time.perf_counter() - began)
        seen[path] = answer.status_code, times[0], len(answer.content)
        print(f"{answer.status_code} {times[0]:6.3f} s first, {min(times[1:]):6.3f} s again, "
              f"{len(answer.content):9,} bytes  {path[:110]}")  # fmt: skip
        return answer.text

    look("/")
    look("/overview/live")
    problems = look(f"/problems?catalogue={known.id}")
    for path in sorted(set(re.findall(r'hx-get="(/problems/frames[^"]*)"', problems))):
        frames = look(unescape(path))
        for again in sorted(set(re.findall(r'hx-get="(/problems/(?:requeue|clear)[^"]*)"', frames)))[:2]:
            look(unescape(again))
    look("/runs")
    look("/runs/work")
    look("/runs/first")
    look("/batches/b-007")
    look("/batches/b-007/report")
    look("/sky")
    look(f"/sky/{known.id}/now")
    look(f"/sky/{known.id}/table?ra=10&dec=10&radius=5")
    look(f"/sky/{known.id}/find?text={frame.run}-{frame.camcol}-{frame.field}")
    for kind in ("positions", "states"):
        look(f"/sky/{known.id}/{kind}/0")
    look(f"/frames?q={frame.run}+{frame.camcol}+{frame.field}")
    look(f"/frames/{known.archive}/{frame}")
    look(f"/fields/{known.archive}/{frame.release}/{frame.run}/{frame.camcol}/{frame.field}")
    assert {path: found for path, found in seen.items() if found[0] != 200} == {}
    assert {path: found for path, found in seen.items() if found[2] > MOST_BYTES} == {}
    ledger.engine.dispose()

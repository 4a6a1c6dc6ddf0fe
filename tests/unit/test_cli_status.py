"""`kira status`: the table, the reasons, JSON for scripts, the check, and what it refuses."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import text

from kira.cli import main
from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.sdss import FrameId
from kira.stages.extraction import OUTCOMES
from kira.storage import catalogue_folder, open_store

FRAMES = [FrameId.parse(f"dr12-301-000094-1-{field:04d}-r") for field in range(11, 17)]
CONTEXT = Context("batch-1", "shared", "dr12", "kira-1", "run-1", log="http://airflow/log")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kira(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command, as typed in a wide terminal."""
    monkeypatch.setenv("KIRA_HOME", f"{tmp_path}/home")
    # The module may have been imported before, and its console has the width of then.
    monkeypatch.setattr("kira.cli.status.console", Console(width=400, no_color=True))
    for name in ("KIRA_LEDGER_URL", "KIRA_STAGE_URL", "AIRFLOW_PORT", "KIRA_PORT_BASE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kira", "status", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def ledger(kira: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Six frames: one published, one damaged, one retried, one withdrawn, two that wait; and its catalogue."""
    monkeypatch.setenv("KIRA_LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")
    monkeypatch.setenv("KIRA_STAGE_URL", f"file://{tmp_path}/stage")
    made = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    number, scope = made.catalogue("shared", "dr12", "kira-1"), (lambda _: True)
    done, damaged, trying, gone, *_ = FRAMES
    place = (94, 301, 1)
    made.reconcile(number, done.release, place, dict.fromkeys(FRAMES, ""), None, scope)
    with made.attempt(CONTEXT, Stage.MIRROR, 3):
        made.record(CONTEXT, Stage.MIRROR, [
            Record(done, Outcome.OK, size=2_000_000_000, sha256="ab" * 32),
            Record(damaged, Outcome.CORRUPT_UPSTREAM, "cut short [half of it]"),
            Record(trying, Outcome.ARCHIVE_UNAVAILABLE, "no answer", retrying=True),
        ])  # fmt: skip
    made.record(CONTEXT, Stage.PUBLISH, [Record(done, Outcome.OK, sources=1234)])
    made.reconcile(number, done.release, place, dict.fromkeys(set(FRAMES) - {gone}, ""), None, scope)
    store = open_store(f"file://{tmp_path}/stage")
    store.write(f"{catalogue_folder('shared', 'dr12', 'kira-1')}/batch=batch-1/{OUTCOMES}", b"")
    return made


def as_json(answer: tuple[int, str, str]) -> list[dict[str, Any]]:
    code, out, err = answer
    assert (code, err) == (0, "")
    found: list[dict[str, Any]] = json.loads(out)["catalogues"]
    return found


def rows(out: str) -> dict[str, list[str]]:
    """Cells of the first table, by stage."""
    lines = (line.strip("│┃ ").split("│") for line in out.splitlines() if "│" in line)
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


@pytest.mark.usefixtures("ledger")
def test_the_table_has_stages_by_outcomes_and_each_row_adds_up(kira: Run) -> None:
    code, out, err = kira()
    assert (code, err) == (0, "")
    assert "shared: dr12" in out
    header = next(line for line in out.splitlines() if "corrupt upstream" in line)
    names = [cell.strip() for cell in header.strip("┃ ").split("┃")]
    assert names[0] == "stage"
    assert set(names[1:-1]) == {"waiting", "ok", "corrupt upstream", "retrying", "not reached"}
    table = rows(out)
    assert list(table) == list(Stage)
    for cells in table.values():
        assert cells[-1] == "6"
        assert sum(int(cell or 0) for cell in cells[:-1]) == 6
    assert dict(zip(names[1:], table["mirror"], strict=True)) == {
        "waiting": "", "ok": "1", "corrupt upstream": "1", "retrying": "1", "not reached": "3", "sum": "6",
    }  # fmt: skip
    assert "6 frames, 1 published with 1,234 sources; 3 to do; 1 withdrawn by the archive; 2.00 GB" in out


@pytest.mark.usefixtures("ledger")
def test_why_lists_what_is_not_published_with_what_to_do(kira: Run) -> None:
    code, out, _ = kira("--why")
    assert code == 0
    listed = out[out.index("not published") :]
    assert [str(frame) in listed for frame in FRAMES] == [False, True, True, True, False, False]
    for said in ("cut short [half of it]", Outcome.CORRUPT_UPSTREAM.advice, "no answer", "the run run-1 tries again",
                 "does not list it any more"):  # fmt: skip
        assert said in listed
    waiting = kira("--why", "--waiting")[1]
    assert [str(frame) in waiting for frame in FRAMES] == [False, True, True, True, True, True]
    one = kira("--why", "--most", "1")[1]
    assert [str(frame) in one for frame in FRAMES] == [False, True, False, False, False, False]
    assert "So many at most (1)" in one
    assert "All others wait for their turn, or are published." in kira("--why", "--fields", "11")[1]


@pytest.mark.usefixtures("ledger")
def test_json_is_for_scripts(kira: Run) -> None:
    (one,) = as_json(kira("--json"))
    assert (one["archive"], one["release"], one["profile"], one["selection"]) == (
        "shared", "dr12", "kira-1", one["selection"],
    )  # fmt: skip
    assert (one["total"], one["published"], one["withdrawn"], one["to_do"], one["size"]) == (6, 1, 1, 3, 2_000_000_000)
    assert one["sources"] == {"r": 1234}
    assert one["stages"]["mirror"] == {"ok": 1, "corrupt_upstream": 1, "retrying": 1, "not reached": 3}
    assert "not_published" not in one
    assert "disagreements" not in one
    (one,) = as_json(kira("--json", "--why", "--check", "--fields", "12"))
    assert (one["total"], one["disagreements"]) == (1, [])
    (frame,) = one["not_published"]
    assert (frame["frame"], frame["outcome"], frame["log"]) == (
        str(FRAMES[1]),
        "corrupt_upstream",
        "http://airflow/log",
    )
    assert frame["at"].endswith("Z")
    assert frame["reason"] == "cut short [half of it]"


def test_every_catalogue_has_its_own_unless_one_is_chosen(kira: Run, ledger: Ledger) -> None:
    frame = FrameId.parse("dr7-40-004192-4-0300-r")
    for context in (replace(CONTEXT, release="dr7", batch="b7"), replace(CONTEXT, archive="sdss", batch="bs")):
        ledger.record(context, Stage.PLAN, [Record(frame, Outcome.OK)])
    assert len(as_json(kira("--json"))) == 3
    for arguments, names in (
        (["--release", "dr7"], [("shared", "dr7")]), (["--archive", "sdss"], [("sdss", "dr12")]),
        (["--archive", "sdss", "--release", "DR12"], [("sdss", "dr12")]),
    ):  # fmt: skip
        assert [(one["archive"], one["release"]) for one in as_json(kira("--json", *arguments))] == names


def test_the_check_is_an_exit_status(kira: Run, ledger: Ledger, tmp_path: Path) -> None:
    code, out, err = kira("--check")
    assert (code, err) == (0, "")
    assert "The sums agree." in out
    with ledger.engine.begin() as connection:
        connection.execute(text("UPDATE tally SET frames = frames + 1 WHERE outcome = 'corrupt_upstream'"))
    for arguments in (["--check"], ["--check", "--json"]):
        code, out, err = kira(*arguments)
        assert code == 1
        assert "The sums agree." not in out
        assert err.startswith("kira: The sums do not agree: shared dr12: run 94, camcol 1, band r, mirror corrupt_ups")
    assert len(json.loads(out)["catalogues"][0]["disagreements"]) == 1


def test_the_check_looks_at_the_catalogue_s_folders(kira: Run, ledger: Ledger, tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/stage")
    folder = catalogue_folder("shared", "dr12", "kira-1")
    store.rename(f"{folder}/batch=batch-1", f"{folder}/batch=batch-2")
    code, _, err = kira("--check")
    assert code == 1
    assert "Batch batch-1 is said to be published, and is not there." in err
    assert "Batch batch-2 is published, and the ledger does not know." in err


def test_where_hdfs_does_not_run_the_answer_is_still_json(
    kira: Run, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KIRA_STAGE_URL")
    code, out, err = kira("--check", "--json")
    assert code == 0
    assert json.loads(out)["catalogues"][0]["disagreements"] == []
    assert "Not compared with the catalogue's folders" in err


NONSENSE = [
    (["--runs", "ninety"], "runs: 'ninety' is not a list of numbers"),
    (["--camcols", "7"], "camcols: '7' has numbers outside 1 to 6"),
    (["--bands", "x"], "bands: 'x' is not some of the letters"),
    (["--release", "dr99"], "There is no SDSS data release 99"),
    (["--release", "dr7"], "The ledger knows of no such frames"),
    (["--archive", "../etc"], "'../etc' cannot be the name of an archive"),
    (["--archive", "sdss\n"], "cannot be the name of an archive"),
    (["--archive", "another"], "The ledger knows of no such frames"),
]


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(("arguments", "sentence"), NONSENSE)
def test_nonsense_is_refused_with_a_sentence(kira: Run, arguments: list[str], sentence: str) -> None:
    for more in ([], ["--json"], ["--why", "--check"]):
        code, out, err = kira(*arguments, *more)
        assert (code, out) == (1, "")
        assert err.startswith("kira: ")
        assert sentence in err
        assert err.count("\n") == 1


def test_where_there_is_no_ledger_it_says_so_and_makes_none(kira: Run, tmp_path: Path) -> None:
    code, out, err = kira()
    assert (code, out) == (1, "")
    assert err == f"kira: There is no ledger in {tmp_path}/home yet: run an ingestion first, or name another one by " \
                  "KIRA_LEDGER_URL.\n"  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://h/x", "The ledger is kept in SQLite or PostgreSQL"),
        ("nonsense", "KIRA_LEDGER_URL is not the URL of a database"),
        ("sqlite:////nowhere/at/all/ledger.db", "The ledger's database refused or lost an operation"),
        ("sqlite:///{}/picture.png", "The ledger's database refused or lost an operation: file is not a database"),
        ("postgresql+psycopg://kira@/x?host=/nowhere", "The ledger's database refused or lost an operation"),
    ],
)
def test_a_ledger_that_cannot_be_opened_is_one_sentence(
    kira: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, sentence: str
) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG" * 1000)
    monkeypatch.setenv("KIRA_LEDGER_URL", url.format(tmp_path))
    code, out, err = kira()
    assert (code, out) == (1, "")
    assert sentence in err
    assert err.count("\n") == 1

"""The command line: nonsense is one sentence and nothing is started; what it says when nothing runs."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kira.cli import main
from kira.stack.config import StackConfig
from kira.stack.local import LocalStack

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("KIRA_HOME", str(folder))
    for variable in ("AIRFLOW_PORT", "KIRA_PORT_BASE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setenv("NO_COLOR", "1")
    return folder


@pytest.fixture
def kira(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def started(stack: LocalStack) -> None:
        raise AssertionError("the stack was started")

    monkeypatch.setattr(LocalStack, "up", started)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kira", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


NONSENSE = [
    (["--runs", "ninety"], "runs: 'ninety' is not a list of numbers"),
    (["--runs", "20-10"], "the range '20-10' ends before it begins"),
    (["--camcols", "7"], "camcols: '7' has numbers outside 1 to 6"),
    (["--fields", "10000"], "fields: '10000' has numbers beyond 9999"),
    (["--fields", "11;rm"], "fields: '11;rm' is not a list"),
    (["--bands", "x"], "bands: 'x' is not some of the letters u g r i z"),
    (["--release", "dr99"], "There is no SDSS data release 99; use dr1 to dr18."),
    (["--release", "dr12,latest"], "latest"),
    (["--stage", "s3://bucket/x"], "STAGE=s3://bucket/x: use hdfs"),
    (["--stage", "file:///"], "'file:///' is not a place to stage to"),
    (["--stage", "/some/folder"], "STAGE=/some/folder: use hdfs"),
]


@pytest.mark.parametrize(("arguments", "sentence"), NONSENSE)
def test_nonsense_is_one_sentence_and_nothing_is_started(
    kira: Run, home: Path, arguments: list[str], sentence: str
) -> None:
    status, out, err = kira("run", *arguments)
    assert status == 1
    assert out == ""
    assert err.startswith("kira: ")
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert not home.exists()


@pytest.mark.parametrize(
    ("archive", "sentence"),
    [
        ("/no/such/folder", "there is no such folder"),
        ("nonsense", "there is no such folder"),
        ("http://", "host"),
        ("ftp://host/x", "ARCHIVE=ftp://host/x"),
        ("EMPTY", "neither das/imaging nor sas/dr8"),
    ],
)
def test_a_nonsense_archive_is_one_sentence_and_nothing_is_started(
    kira: Run, home: Path, tmp_path: Path, archive: str, sentence: str
) -> None:
    if archive == "EMPTY":
        archive = str(tmp_path / "empty")
        Path(archive).mkdir()
    status, out, err = kira("run", "--archive", archive)
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert sentence in err
    assert not home.exists()


@pytest.mark.parametrize("port", ["http", "80", "70000", ""])
def test_a_nonsense_port_is_one_sentence(kira: Run, home: Path, monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("AIRFLOW_PORT", port)
    status, _, err = kira("run")
    assert status == 1
    assert f"AIRFLOW_PORT={port} is not a port" in err
    assert not home.exists()


def test_unknown_options_are_refused(kira: Run, home: Path) -> None:
    status, _, err = kira("run", "--releases", "dr12")
    assert status == 2
    assert "--releases" in err
    assert not home.exists()


def test_status_with_nothing_running(kira: Run, home: Path) -> None:
    status, out, err = kira("stack", "status")
    assert (status, err) == (0, "")
    parts = ("SeaweedFS", "sample archive", "NameNode", "DataNode 1", "DataNode 2", "API server", "scheduler")
    for part in parts:
        assert re.search(rf"{part}.*not running", out)
    assert "password" not in out
    assert not home.exists()


def test_stopping_nothing_says_so(kira: Run, home: Path) -> None:
    status, out, _ = kira("stack", "down")
    assert (status, out) == (0, "Nothing ran.\n")
    assert not home.exists()


def test_export_of_nothing_is_one_sentence(
    kira: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StackConfig(home, stage=f"file://{tmp_path}/stage").save()
    status, _, err = kira("export", str(tmp_path / "out.parquet"))
    assert status == 1
    assert err.startswith("kira: Nothing is published in file://")
    assert not (tmp_path / "out.parquet").exists()

"""`kira mirror verify` refuses nonsense with one sentence before it asks anybody."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kira.cli import main
from kira.sdss import Selection
from kira.sdss.archive import ArchiveClient
from kira.stages.verify import Verdict, Verification
from kira.storage import S3Mirror

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("KIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kira", "mirror", "verify", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--runs", "ninety"], "runs: 'ninety' is not a list of numbers"),
        (["--camcols", "7"], "camcols: '7' has numbers outside 1 to 6"),
        (["--bands", "x"], "bands: 'x' is not some of the letters"),
        (["--release", "dr99"], "There is no SDSS data release 99"),
        (["--sky", "cone 1 2"], "sky: 'cone 1 2' is not a patch of sky; write 'cone RA DEC RADIUS'"),
        (["--sky", "box 1 1 0 2"], "sky: box 1 1 0 2: a box ends at another right ascension"),
        (["--archive", "/there/is/none"], "ARCHIVE=/there/is/none: there is no such folder"),
        (["--archive", "http://user:secret@x/"], "the URL has an '@'"),
        (["--archive", "a\nb\x1b[31m"], r"ARCHIVE=a\nb\x1b[31m: there is no such folder"),
        ([], "The stack does not run, and with it S3, where the mirror is: start it with make run."),
    ],
)
def test_one_sentence(verify: Run, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    status, out, err = verify(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith("kira: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert "secret" not in err
    assert not (tmp_path / "home").exists()


def test_in_containers_it_is_the_mirror_of_the_service(verify: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no supervisor there, and yet there are servers."""

    def compared(mirror: S3Mirror, client: ArchiveClient, selection: Selection, **_: Any) -> Verification:
        asked.append(mirror.client.meta.endpoint_url)
        return Verification(client.archive.name, str(selection), Counter({Verdict.EQUAL: 3}))

    asked: list[str] = []
    monkeypatch.setattr("kira.cli.mirror.verify", compared)
    for name, value in {"CONTAINERS": "3", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "of S3"}.items():
        monkeypatch.setenv(f"KIRA_{name}", value)
    status, out, err = verify("--archive", "sdss", "--runs", "94")
    assert (status, err) == (0, "")
    assert "3 of 3 frames that are on both sides are equal." in out
    assert asked == ["http://s3:28301"]


@pytest.mark.parametrize("arguments", [["--threads", "0"], ["--threads", "99"], ["--threads", "x"], ["--nothing"]])
def test_usage(verify: Run, arguments: list[str]) -> None:
    status, _, err = verify(*arguments)
    assert status == 2
    assert "Error" in err

"""The tutorial docs/using.md does what it says."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_catalogues import made_up, publish, scattered

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "using.md").read_text()


def test_the_blocks_of_the_tutorial_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = np.random.default_rng(1)
    tables = [
        made_up("survey", *scattered(2000, 359.6 + 0.3 * n, 0.1, 0.2, n), field=11 + n, seed=n,
                values={"mag_auto": chance.normal(20, 1, 2000), "flags": chance.integers(0, 2, 2000)})
        for n in range(4)
    ]  # fmt: skip
    publish(tmp_path / "catalogue", "survey", {"a": tables[:2], "b": tables[2:]})
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(blocks) == TEXT.count("```python") == 9
    told: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units that FITS does not know, and lsdb's own
            exec(compile(block, f"docs/using.md, block {number}", "exec"), told)  # noqa: S102
    said = capsys.readouterr().out
    assert "8000 sources in 4 files" in said
    assert re.search(r"deg nmgy", said)
    # What the blocks found is the same by each of the ways.
    assert told["found"].num_rows == len(told["again"]) == len(told["near"]) > 100
    by_hand = [
        row for table in tables for row in table.to_pylist()
        if row["primary"] and row["band"] in "gr" and row["flags"] == 0 and 14 <= row["mag_auto"] < 24
    ]  # fmt: skip
    assert sum(int(count.sum()) for count in told["counts"].values()) == len(by_hand) > 500
    assert (tmp_path / "counts.png").read_bytes().startswith(b"\x89PNG")
    assert told["bright"].num_rows == sum((table["mag_auto"].to_numpy() < 18).sum() for table in tables) > 0
    assert (told["written"].rows, len(told["written"].partitions)) == (8000, told["survey"].npartitions)


def test_the_commands_of_the_tutorial_exist() -> None:
    from typer.main import get_command

    from kira.cli import app

    commands = [line.split("#")[0].split() for line in TEXT.splitlines() if line.startswith("kira ")]
    assert len(commands) == 6
    for _, name, *rest in commands:
        command = get_command(app).commands[name]  # type: ignore[attr-defined]
        if name == "query":
            command = command.commands[rest.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {one for one in rest if re.match(r"--?[a-z]", one)} <= known, rest

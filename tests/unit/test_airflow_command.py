"""`kira stack airflow`: Airflow's own commands with the stack's settings, or one sentence."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kira.cli import main
from kira.stack.config import PROJECT, StackConfig


def test_nothing_is_made_where_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["kira", "stack", "airflow", "db", "clean", "--yes"])
    with pytest.raises(SystemExit, match="1"):
        main()
    sentence = "kira: The stack does not run, and with it Airflow's database: start it with make run.\n"
    assert capsys.readouterr().err == sentence
    assert not (tmp_path / "home").exists()


def test_in_containers_it_is_that_of_the_service(tmp_path: Path) -> None:
    """With what docker-compose.yml gives to `cli`, and a real Airflow, which says what database it would open."""
    service = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]["cli"]
    given = {
        name: re.sub(r"\$\{\w+:\?.*\}", f"of {name}/@", str(value)) for name, value in service["environment"].items()
    }
    given = {name: value for name, value in given.items() if "$" not in value} | {"KIRA_HOME": str(tmp_path)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KIRA_", "AIRFLOW"))}
    command = [sys.executable, "-c", "from kira.cli import main; main()", "stack", "airflow", "config", "get-value"]
    done = subprocess.run(
        [*command, "database", "sql_alchemy_conn"], capture_output=True, text=True, check=False, timeout=300,
        env=kept | given | {"PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    url = StackConfig.load(environment=given).postgres_url("airflow", "of KIRA_DATABASE_PASSWORD/@")
    assert done.stdout.splitlines()[-1] == url

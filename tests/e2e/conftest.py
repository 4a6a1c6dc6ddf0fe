"""A whole stack, Airflow included, for the session; and `kira run` against it, as a user would."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kira.catalog import read_parts
from kira.ledger import Ledger, OutcomeRow, Stage
from kira.stack.airflow_server import AirflowApi
from kira.stack.local import LocalStack
from kira.storage import Store, catalogue_folder, open_store

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Observatory:
    """A running stack and what a test wants to know of it."""

    stack: LocalStack
    store: Store
    ledger: Ledger
    api: AirflowApi
    told: list[Any] = field(default_factory=list)
    """Alerts that a webhook was sent."""

    def kira(self, *arguments: str, ok: bool = True) -> str:
        """Run the command as a user would, and return what it printed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KIRA_", "AIRFLOW"))}
        done = subprocess.run(
            [str(Path(sys.executable).with_name("kira")), *arguments], check=False, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=840,
            env=kept | {"KIRA_HOME": str(self.stack.config.home), "COLUMNS": "200"},
        )  # fmt: skip
        print(done.stdout)
        assert (done.returncode == 0) is ok, done.stdout
        return done.stdout

    def catalogue(self, archive: str, release: str) -> Any:
        """All published sources of the only profile that there is a catalogue of, in canonical order."""
        (profile,) = self.store.listing(f"{archive}/catalog/{release}")
        folder = catalogue_folder(archive, release, profile.name)
        return read_parts(
            self.store.read(path) for path, file in self.store.walk(folder) if file.name.endswith(".parquet")
        )

    def counts(self, archive: str, release: str) -> dict[tuple[int, int, str], int]:
        """Published sources by run, field and band."""
        rows = self.catalogue(archive, release).group_by(["run", "field", "band"]).aggregate([("number", "count")])
        return {(r["run"], r["field"], r["band"]): r["number_count"] for r in rows.to_pylist()}

    def outcomes(self, archive: str, release: str) -> dict[str, OutcomeRow]:
        """Outcome of the latest stage that each frame of an archive's release reached."""
        rows = [r for run in self.dag_runs() for r in self.ledger.outcomes(run)]
        order = list(Stage)
        rows.sort(key=lambda row: order.index(Stage(row.stage)))
        return {r.frame: r for r in rows if (r.archive, r.release) == (archive, release)}

    def dag_runs(self) -> list[str]:
        """Ids of all DAG runs."""
        runs = self.api.call("GET", "/dags/sdss_ingest/dagRuns", params={"limit": 100})["dag_runs"]
        return [run["dag_run_id"] for run in runs]

    def connect(self, name: str, folder: Path) -> str:
        """Serve a folder as an archive and make the Airflow connection to it; returns the connection's id."""
        base = self.stack.serve_archive(name, folder)
        extra = json.dumps({"name": name, "das": f"{base}/das", "sas": f"{base}/sas"})
        self.api.set_connection({"connection_id": f"kira_archive_{name}", "conn_type": "http", "extra": extra})
        return f"kira_archive_{name}"


@pytest.fixture(scope="session")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's DAGs, with two more, paused: one that follows a catalogue, and the ingestion every minute."""
    folder = tmp_path_factory.mktemp("dags") / "dags"
    shutil.copytree(PROJECT / "dags", folder, ignore=shutil.ignore_patterns("__pycache__"))
    example = (PROJECT / "docs" / "following.md").read_text().split("```python\n")[1].split("```")[0]
    assert "kira_catalogue_sample_dr12" in example
    (folder / "my_follower.py").write_text(example.replace("_sample_", "_followed_"))
    ingest = (folder / "sdss_ingest.py").read_text()
    often = ingest.replace('dag_id="sdss_ingest"', 'dag_id="every_minute"').replace("wiring.schedule()", '"* * * * *"')
    often = often.replace("max_active_runs=4", "max_active_runs=1")
    assert often.count("every_minute") == often.count("max_active_runs=1") == often.count("* * * * *") == 1
    (folder / "every_minute.py").write_text(often)
    return folder


@pytest.fixture(scope="session")
def webhook() -> Iterator[tuple[str, list[Any]]]:
    """Address of a server that takes alerts, and what it was sent."""
    told: list[Any] = []

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """The test says what came."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Takes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/alert", told
        server.shutdown()


@pytest.fixture(scope="session")
def observatory(
    new_stack: Callable[..., LocalStack], dags: Path, webhook: tuple[str, list[Any]]
) -> Iterator[Observatory]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIRA_RETRY_SECONDS", "3")
        patch.setenv("KIRA_ALERTS", webhook[0])
        patch.setenv("KIRA_ALERT_FRAMES", "1")
        stack = new_stack(name="e2e", dags=dags)
        yield Observatory(
            stack, open_store(stack.config.stage_url), Ledger(stack.config.ledger_url), AirflowApi(stack.config),
            webhook[1],
        )  # fmt: skip

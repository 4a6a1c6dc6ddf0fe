"""A whole stack, Airflow included, that is switched off and started again; and what `make run` does."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from conftest import Undisturbed
from harness import SELECTION, until, whole
from pipeline import Pipeline

from kira.cli.archives import Source, find_source
from kira.ledger import Ledger
from kira.stack.airflow_server import AirflowApi
from kira.stack.config import BUCKET
from kira.stack.local import LocalStack
from kira.stages.work import Services
from kira.storage import S3Mirror, open_store

DAG = "sdss_ingest"
CONF = {"profile": "kira", "release": "dr7", "bands": "gr", "batch_size": 2}


@dataclass
class Machine:
    """A stack and the archives that it has ingested or is about to."""

    stack: LocalStack
    sample: Path
    expected: Undisturbed

    def archive(self, name: str) -> Source:
        """The same frames as an archive of another name: nothing is known of them yet."""
        folder = self.stack.config.home.parent / f"archives-{self.stack.config.home.name}" / name
        shutil.copytree(self.sample, folder, copy_function=os.link)
        return find_source(str(folder), folder, self.stack)

    def trigger(self, source: Source, **conf: Any) -> str:
        """Start an ingestion, and do not wait for it."""
        with closing(AirflowApi(self.stack.config)) as api:
            api.set_connection(source.connection)
            return api.trigger(DAG, CONF | {"archive": source.connection_id} | conf)

    def run(self, source: Source) -> str:
        """What `make run ARCHIVE=…` does, as a user would; what it said."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KIRA_", "AIRFLOW"))}
        command = [
            str(Path(sys.executable).with_name("kira")), "run", "--archive", str(source.folder), "--profile", "kira",
            "--bands", "gr", "--batch-size", "2",
        ]  # fmt: skip
        for _ in range(3):
            done = subprocess.run(
                command, check=False, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=840,
                env=kept | {"KIRA_HOME": str(self.stack.config.home), "COLUMNS": "200"},
            )  # fmt: skip
            print(done.stdout)
            # A machine that is busy with other things needs longer than a user's patience: who waited tries again.
            if "did not come up within" not in done.stdout:
                break
        assert done.returncode == 0, done.stdout
        return done.stdout

    def state(self, run: str) -> str:
        with closing(AirflowApi(self.stack.config)) as api:
            return api.run_state(DAG, run)

    def ended(self) -> bool:
        """Whether no DAG run is queued or at work."""
        with closing(AirflowApi(self.stack.config)) as api:
            runs = api.call("GET", "/dags/~/dagRuns", params={"limit": 100, "state": ["queued", "running"]})["dag_runs"]
        return not runs

    def wait(self, seconds: float = 600) -> float:
        """Wait until all DAG runs have ended; for how long."""
        began = time.monotonic()
        until(self.ended, seconds, "the end of all DAG runs")
        return time.monotonic() - began

    def running_task(self, run: str) -> set[str]:
        """Tasks of a DAG run that are at work."""
        with closing(AirflowApi(self.stack.config)) as api:
            return {task["task_id"] for task in api.tasks(DAG, run) if task["state"] == "running"}

    def tries(self, run: str, task: str) -> int:
        """How often a task of a DAG run was tried."""
        with closing(AirflowApi(self.stack.config)) as api:
            return max(one["try_number"] for one in api.tasks(DAG, run) if one["task_id"] == task)

    def processes(self) -> list[psutil.Process]:
        """Everything that belongs to the stack, by the mark in its environment."""
        home, found = str(self.stack.config.home), []
        for process in psutil.process_iter():
            try:
                if process.environ().get("KIRA_STACK") == home and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def switch_off(self) -> int:
        """SIGKILL to all of it, until nothing is left; how many there were."""
        killed = 0
        while processes := self.processes():
            # Stopped first: none of them may act on the death of another, as none could if the power went.
            for sign in (signal.SIGSTOP, signal.SIGKILL):
                for process in processes:
                    try:
                        process.send_signal(sign)
                    except psutil.Error:
                        continue
            psutil.wait_procs(processes, timeout=5)
            killed += len(processes)
        return killed

    def listening(self) -> set[int]:
        """Ports of the stack on which somebody listens, whoever that is."""
        ports = set(self.stack.config.used_ports.values())
        found = {c.laddr.port for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr}
        return ports & found

    def pipeline(self, source: Source) -> Pipeline:
        """Where the archive's frames went, for those who look at it."""
        config = self.stack.config
        services = Services(
            source.archive, S3Mirror(self.stack.s3_client(), BUCKET), open_store(config.stage_url),
            Ledger(config.ledger_url),
        )  # fmt: skip
        assert source.folder is not None
        return Pipeline(services, source.folder, SELECTION)

    def check(self, source: Source) -> None:
        """All that must hold after a fault."""
        whole(self.pipeline(source), self.expected.digest, self.expected.frames)

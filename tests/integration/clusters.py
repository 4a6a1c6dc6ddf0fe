"""A standalone cluster of Spark whose executors know nothing of Kira but what a job brings."""

import os
import secrets
import subprocess
import time
import venv
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
from test_spark import end

from kira.stack import spark_servers
from kira.stack.ports import free_ports

WAIT = 180


def without_kira(folder: Path) -> str:
    """A Python that has all packages of this environment, but not Kira, which is installed there by a .pth file."""
    venv.create(folder, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "packages.pth").write_text(f"{Path(np.__file__).parents[1]}\n")  # whose own .pth files are not read
    python = str(folder / "bin" / "python")
    clean = {"PATH": os.environ["PATH"]}
    code = "import numba, sep; import kira"
    tried = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, env=clean, cwd=folder, check=False
    )  # fmt: skip
    assert "ModuleNotFoundError: No module named 'kira'" in tried.stderr
    return python


@dataclass
class Standalone:
    """A master and workers of one core each; whoever wants to talk to them must know a secret."""

    folder: Path
    secret: str = field(default_factory=secrets.token_hex)
    ports: list[int] = field(default_factory=lambda: list(free_ports().values()))
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"spark://127.0.0.1:{self.ports[0]}"

    @property
    def properties(self) -> dict[str, str]:
        """What an application must know: its driver reads the secret from no other place."""
        return {"spark.authenticate": "true", "spark.authenticate.secret": self.secret}

    def start(self) -> None:
        self.start_master()
        self.start_workers()

    def start_master(self, more: str = "") -> None:
        """With more lines in its file of settings."""
        file = self.folder / "servers.properties"
        file.write_text(f"spark.authenticate true\n{more}")
        self._start("master", spark_servers.master("127.0.0.1", self.ports[0], self.ports[1], file))

    def start_workers(self) -> None:
        """Those that do not run."""
        for number in (1, 2):
            if f"worker{number}" not in self.processes:
                command = spark_servers.worker(
                    self.url, "127.0.0.1", 0, 0, cores=1, memory="1g", folder=self.folder / f"work{number}",
                    properties=self.folder / "servers.properties",
                )  # fmt: skip
                self._start(f"worker{number}", command)
        deadline = time.monotonic() + WAIT
        while self._alive() < 2:
            assert time.monotonic() < deadline, (self.folder / "master.log").read_text()[-2000:]
            time.sleep(0.2)

    def _alive(self) -> int:
        try:
            page = httpx.get(f"http://127.0.0.1:{self.ports[1]}/json/", trust_env=False).json()
        except (httpx.HTTPError, ValueError):  # its page comes up a moment before what it shows
            return 0
        return sum(worker["state"] == "ALIVE" for worker in page["workers"])

    def _start(self, name: str, command: list[str]) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME") if name in os.environ}
        with (self.folder / f"{name}.log").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, cwd=self.folder,
                env=kept | {"SPARK_LOCAL_IP": "127.0.0.1", "_SPARK_AUTH_SECRET": self.secret},
            )  # fmt: skip

    def kill_worker_of(self, pid: int) -> None:
        """As if the machine on which a process runs went off."""
        above = {process.pid for process in psutil.Process(pid).parents()}
        (name,) = [name for name, process in self.processes.items() if process.pid in above]
        end(self.processes.pop(name))

    def stop(self) -> None:
        for process in self.processes.values():
            end(process)

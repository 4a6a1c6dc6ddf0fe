"""A PostgreSQL server of its own, that can be killed and started again."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest


class Postgres:
    """A cluster in a folder of its own, on a socket there."""

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not programs:
            pytest.skip("THERE IS NO POSTGRESQL ON THIS MACHINE: what its restart does is NOT proven.")
        self._programs = programs[-1]
        # The server refuses to run as root.
        self._as = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        self.folder = Path(tempfile.mkdtemp(prefix="kira-pg-"))
        if self._as:
            shutil.chown(self.folder, "postgres")
        self._run("initdb", "-D", f"{self.folder}/data", "-U", "kira", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://kira@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self._run(
            "pg_ctl", "-D", f"{self.folder}/data", "-w", "-t", "60", "-l", f"{self.folder}/log", "-o",
            f"-c listen_addresses= -k {self.folder}", "start",
        )  # fmt: skip

    def kill(self) -> None:
        """End it as a crash would: nothing is written any more, connections break."""
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop")

    def restart(self, seconds: float) -> None:
        """Kill it, and start it again after so long."""
        self.kill()
        time.sleep(seconds)
        self.start()

    def close(self) -> None:
        """Stop it, and remove its data."""
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop", check=False)
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        done = subprocess.run(
            [*self._as, str(self._programs / program), *arguments], check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120, cwd="/",
        )  # fmt: skip
        assert done.returncode == 0 or not check, f"{program} {' '.join(arguments)} failed"

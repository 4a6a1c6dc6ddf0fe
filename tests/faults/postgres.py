"""A PostgreSQL server of its own, that can be killed and started again."""

import tempfile
import time
from pathlib import Path

from kira.stack.postgresql import Cluster


class Postgres:
    """A cluster in a folder of its own, on a socket there."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kira-pg-")
        folder = Path(self._folder.name)
        self._cluster = Cluster(folder / "data", folder)
        self._cluster.make("secret")
        self.start()

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return self._cluster.url("secret")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self._cluster.start()

    def kill(self) -> None:
        """End it as a crash would: nothing is written any more, connections break."""
        self._cluster.stop("immediate")

    def restart(self, seconds: float) -> None:
        """Kill it, and start it again after so long."""
        self.kill()
        time.sleep(seconds)
        self.start()

    def close(self) -> None:
        """Stop it, and remove its data."""
        self.kill()
        self._folder.cleanup()

"""Configuration of the stack: folder for its state, hosts and ports of its servers, generated secrets.

The local stack has all servers on 127.0.0.1. In containers (docker-compose.yml) each server has a host of its own.
"""

import base64
import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kira.errors import InvalidInput
from kira.storage.stores import open_store

HOST = "127.0.0.1"
PROJECT = Path(__file__).resolve().parents[2]
BUCKET = "kira-mirror"
LEDGER = "kira"
"""Database of the ledger, where it is not a file."""

# One block below the range that Linux hands out to clients (32768 and up), so that nothing takes them by chance.
DEFAULT_PORTS = {
    "airflow": 8080,
    "archive": 28300,
    "s3": 28301, "s3_grpc": 28302, "s3_master": 28303, "s3_master_grpc": 28304, "s3_volume": 28305,
    "s3_volume_grpc": 28306, "s3_filer": 28307, "s3_filer_grpc": 28308, "s3_admin": 28309, "s3_admin_grpc": 28310,
    "namenode": 28320, "namenode_http": 28321,
    "datanode1": 28322, "datanode1_ipc": 28323, "datanode1_http": 28324,
    "datanode2": 28325, "datanode2_ipc": 28326, "datanode2_http": 28327,
}  # fmt: skip
HDFS_PORTS = tuple(name for name in DEFAULT_PORTS if name.startswith(("namenode", "datanode")))
# What the local stack does not run; in containers no server meets another one's port.
CONTAINER_PORTS = {"postgres": 5432, "queue": 28330, "spark": 28331, "spark_http": 28332, "worker": 28333,
                   "worker_http": 28334, "history_http": 28335}  # fmt: skip
CONTAINER_HOSTS = {
    "airflow": "airflow-api-server", "archive": "archive", "s3": "s3", "namenode": "namenode", "postgres": "postgres",
    "queue": "queue", "spark": "spark-master", "history": "spark-history",
}  # fmt: skip
"""Names of services in docker-compose.yml by the first word of their ports."""
IN_CONTAINERS = "KIRA_CONTAINERS"
"""Set in the environment of every container: its value is the number of DataNodes."""


@dataclass(frozen=True)
class Secrets:
    """Passwords and keys, made once at random and kept in a file that only its owner can read."""

    s3_access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    s3_secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    airflow_password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    database_password: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    jwt_secret: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    api_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    fernet_key: str = field(default_factory=lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    # Of servers that the local stack does not have.
    postgres_password: str = ""
    ledger_password: str = ""
    queue_password: str = ""
    spark_secret: str = ""

    def __repr__(self) -> str:
        return "Secrets(…)"

    @classmethod
    def load(cls, path: Path) -> "Secrets":
        """Read the file, or make it; what a file of an earlier version does not have is made too."""
        known = json.loads(path.read_text()) if path.exists() else {}
        made = cls(**known)
        if asdict(made) != known:
            write_private(path, json.dumps(asdict(made), indent=1))
        return made

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Secrets":
        """What a container was given, by names such as `KIRA_S3_SECRET_KEY`; empty what it has no business with."""
        return cls(**{one.name: environment.get(f"KIRA_{one.name.upper()}", "") for one in fields(cls)})


@dataclass(frozen=True)
class StackConfig:
    """The servers that Kira needs, where they are, and where this machine's part of their state is.

    Parameters
    ----------
    home : Path
        Folder of all state.
    ports : dict of str to int
        See `DEFAULT_PORTS`.
    stage : str
        `hdfs` for the stack's own HDFS, or the URL of a POSIX folder, `file:///…`.
    dags, plugins : Path
        Folders that Airflow reads.
    datanodes : int
        In containers, how many DataNodes there are; 0 for the local stack, which has all its servers on this machine.
    """

    home: Path
    ports: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_PORTS))
    stage: str = "hdfs"
    dags: Path = PROJECT / "dags"
    plugins: Path = PROJECT / "plugins"
    datanodes: int = 0

    def __post_init__(self) -> None:
        if self.stage != "hdfs":
            if not self.stage.startswith("file:///"):
                raise InvalidInput(f"STAGE={self.stage}: use hdfs for the stack's own HDFS, or file:///some/folder.")
            open_store(self.stage)

    @classmethod
    def load(
        cls, home: Path | None = None, *, stage: str | None = None, environment: Mapping[str, str] = os.environ
    ) -> "StackConfig":
        """Read the configuration of an existing stack, or take defaults.

        Environment: `KIRA_HOME` (default `.kira` in the project), `AIRFLOW_PORT`, `KIRA_PORT_BASE`; `KIRA_CONTAINERS`
        where servers are containers.
        """
        if count := environment.get(IN_CONTAINERS):
            if not count.isdecimal() or not 1 <= int(count) <= 100:
                raise InvalidInput(f"{IN_CONTAINERS}={count} is not a number of DataNodes.")
            at = Path(environment.get("KIRA_HOME", PROJECT / ".kira"))
            return cls(at, DEFAULT_PORTS | CONTAINER_PORTS, datanodes=int(count))
        home = (home or Path(environment.get("KIRA_HOME", PROJECT / ".kira"))).absolute()
        known: dict[str, Any] = {}
        if (file := home / "stack.json").exists():
            known = json.loads(file.read_text())
        ports = DEFAULT_PORTS | known.get("ports", {})
        if "KIRA_PORT_BASE" in environment:
            shift = _port(environment, "KIRA_PORT_BASE") - DEFAULT_PORTS["archive"]
            ports |= {name: port + shift for name, port in DEFAULT_PORTS.items() if name != "airflow"}
        if "AIRFLOW_PORT" in environment:
            ports["airflow"] = _port(environment, "AIRFLOW_PORT")
        dags, plugins = (Path(known.get(name, PROJECT / name)) for name in ("dags", "plugins"))
        return cls(home, ports, stage or known.get("stage", "hdfs"), dags, plugins)

    def save(self) -> None:
        """Keep for the next command."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = {"ports": self.ports, "stage": self.stage, "dags": str(self.dags), "plugins": str(self.plugins)}
        write_private(self.home / "stack.json", json.dumps(text, indent=1))

    @property
    def contained(self) -> bool:
        """Whether each server is a container of its own, which something else starts and stops."""
        return self.datanodes > 0

    @property
    def bind(self) -> str:
        """Address to listen on: a container is reached by the other containers, and by the users of their host."""
        return "0.0.0.0" if self.contained else HOST  # noqa: S104

    def host(self, name: str) -> str:
        """Host of a server, by its name or that of one of its ports."""
        return CONTAINER_HOSTS[name.partition("_")[0]] if self.contained else HOST

    @property
    def own_host(self) -> str:
        """Name of this machine, as other servers of the stack may call it."""
        return socket.gethostname() if self.contained else HOST

    @property
    def own_address(self) -> str:
        """Address of this machine in the network of the stack's servers."""
        return socket.gethostbyname(socket.gethostname()) if self.contained else HOST

    @property
    def with_hdfs(self) -> bool:
        """Whether the stack runs its own HDFS."""
        return self.stage == "hdfs"

    @property
    def stage_url(self) -> str:
        """Root of staged frames and catalogues."""
        return f"{self.hdfs_url}/kira" if self.with_hdfs else self.stage.rstrip("/")

    @property
    def hdfs_url(self) -> str:
        """Root of the stack's HDFS."""
        return f"hdfs://{self.host('namenode')}:{self.ports['namenode']}"

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        if self.contained:
            return self.postgres_url(LEDGER, self.secrets.ledger_password)
        return f"sqlite:///{self.home}/ledger.db"

    def postgres_url(self, name: str, password: str) -> str:
        """SQLAlchemy URL of a database in containers, which belongs to a user of the same name."""
        server = f"{self.host('postgres')}:{self.ports['postgres']}"
        return f"postgresql+psycopg://{name}:{quote(password, safe='')}@{server}/{name}"

    @property
    def secrets(self) -> Secrets:
        """Generated passwords and keys."""
        if self.contained:
            return Secrets.from_environment()
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Secrets.load(self.home / "secrets.json")

    @property
    def logs(self) -> Path:
        """Folder of the servers' logs."""
        return self.home / "logs"

    def log_of(self, name: str) -> str:
        """Where somebody reads what a server said, for messages."""
        return f"scripts/compose logs {name}" if self.contained else f"{self.logs / name}.log"

    @property
    def overview(self) -> str:
        """What says which servers run, for messages."""
        return "scripts/compose ps" if self.contained else "make status"

    def url(self, name: str) -> str:
        """HTTP address of a part."""
        return f"http://{self.host(name)}:{self.ports[name]}"

    @property
    def archive_folder(self) -> Path:
        """What the archive server and who gives it something to serve have in common."""
        return self.home / "archive" if self.contained else self.home

    @property
    def registry(self) -> Path:
        """File by which the archive server knows what to serve."""
        return self.archive_folder / "archives.json"

    @property
    def sample(self) -> Path:
        """Folder of the sample archive."""
        return self.archive_folder / "sample"

    @property
    def used_ports(self) -> dict[str, int]:
        """Ports that this stack will listen on."""
        return {name: port for name, port in self.ports.items() if self.with_hdfs or name not in HDFS_PORTS}


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".aside")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    aside.replace(path)


def _port(environment: Mapping[str, str], variable: str) -> int:
    text = environment[variable]
    if not text.isdecimal() or not 1024 <= int(text) <= 65000:
        raise InvalidInput(f"{variable}={text} is not a port between 1024 and 65000.")
    return int(text)

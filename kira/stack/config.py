"""Configuration of the local stack: one folder for all state, ports on 127.0.0.1, generated secrets."""

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kira.errors import InvalidInput
from kira.storage.stores import open_store

HOST = "127.0.0.1"
PROJECT = Path(__file__).resolve().parents[2]
BUCKET = "kira-mirror"

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


@dataclass(frozen=True)
class StackConfig:
    """The local stack.

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
    """

    home: Path
    ports: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_PORTS))
    stage: str = "hdfs"
    dags: Path = PROJECT / "dags"
    plugins: Path = PROJECT / "plugins"

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

        Environment: `KIRA_HOME` (default `.kira` in the project), `AIRFLOW_PORT`, `KIRA_PORT_BASE`.
        """
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
        folders = {name: Path(known[name]) for name in ("dags", "plugins") if name in known}
        return cls(home, ports, stage or known.get("stage", "hdfs"), **folders)

    def save(self) -> None:
        """Keep for the next command."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = {"ports": self.ports, "stage": self.stage, "dags": str(self.dags), "plugins": str(self.plugins)}
        write_private(self.home / "stack.json", json.dumps(text, indent=1))

    @property
    def with_hdfs(self) -> bool:
        """Whether the stack runs its own HDFS."""
        return self.stage == "hdfs"

    @property
    def stage_url(self) -> str:
        """Root of staged frames and catalogues."""
        return f"hdfs://{HOST}:{self.ports['namenode']}/kira" if self.with_hdfs else self.stage.rstrip("/")

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return f"sqlite:///{self.home}/ledger.db"

    @property
    def secrets(self) -> Secrets:
        """Generated passwords and keys."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Secrets.load(self.home / "secrets.json")

    @property
    def logs(self) -> Path:
        """Folder of the servers' logs."""
        return self.home / "logs"

    def url(self, name: str) -> str:
        """HTTP address of a part."""
        return f"http://{HOST}:{self.ports[name]}"

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

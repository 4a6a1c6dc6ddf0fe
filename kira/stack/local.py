"""The local stack: its parts, started and stopped as one."""

import json
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from kira.errors import StackError, StorageError
from kira.stack import airflow_server, hadoop, ports, postgresql, requirements, roles
from kira.stack.airflow_server import AirflowApi
from kira.stack.config import BUCKET, StackConfig
from kira.stack.supervision import Supervisor, write_configuration
from kira.storage import S3Mirror

Say = Callable[[str], None]

NAMES = {
    "s3": "SeaweedFS (S3)",
    "archive": "sample archive over HTTP",
    "namenode": "HDFS NameNode",
    "datanode1": "HDFS DataNode 1",
    "datanode2": "HDFS DataNode 2",
    "postgresql": "PostgreSQL (Airflow's own database)",
    "airflow-api-server": "Airflow API server and UI",
    "airflow-scheduler": "Airflow scheduler",
    "airflow-dag-processor": "Airflow DAG processor",
    "airflow-triggerer": "Airflow triggerer",
}
DAGS = ("sdss_ingest", "sdss_backfill")
_READY_SECONDS = 180


class LocalStack:
    """Servers on 127.0.0.1 with all their state in one folder.

    Parameters
    ----------
    config : StackConfig
    say : callable, optional
        Called with one line of progress at a time.
    parts : set of str, optional
        Names from `NAMES` to run; all by default.
    """

    def __init__(self, config: StackConfig, say: Say = print, parts: set[str] | None = None) -> None:
        self.config = config
        self.say = say
        self.parts = parts or set(NAMES)
        if any(name.startswith("airflow") for name in self.parts):
            self.parts = self.parts | {"postgresql"}
        if not config.with_hdfs:
            self.parts = {name for name in self.parts if not name.startswith(("namenode", "datanode"))}
        self.supervisor = Supervisor(config)

    # -- start and stop

    def up(self) -> None:
        """Start what does not run, and wait until all of it answers.

        Raises
        ------
        StackError
            With one sentence about what is missing or did not come up.
        """
        if self.config.contained:
            self._wait()
            return
        running = self.supervisor.processes()
        if running is not None and StackConfig.load(self.config.home, environment={}).ports != self.config.ports:
            raise StackError("The stack runs on other ports than asked for now: make stop, then start it again.")
        if running is not None and set(running) == self._programs().keys():
            self.say("The stack runs already.")
        else:
            if running is not None:
                self.supervisor.stop()
            self._start()
        self._wait()

    def _start(self) -> None:
        self.supervisor.sweep()
        requirements.check(self.config, with_java=self._has("namenode") or self._has("airflow-scheduler"))
        self._check_ports()
        self.config.save()
        environment = airflow_server.environment(self.config)
        steps: list[Callable[[], None]] = []
        if self._has("namenode"):
            steps.append(self._prepare_hdfs)
        if self._has("s3"):
            roles.prepare_s3(self.config)
        if self._has("airflow-api-server"):
            airflow_server.write_files(self.config)
            steps.append(lambda: self._migrate(environment))
        if self._has("archive"):
            roles.prepare_archive(self.config)
        with ThreadPoolExecutor(2) as pool:
            for step in [pool.submit(step) for step in steps]:
                step.result()
        self.say("Starting " + ", ".join(NAMES[name] for name in self._programs()) + " …")
        self.supervisor.start(write_configuration(self.config, self._programs()), environment)

    def down(self) -> bool:
        """Stop everything; False where nothing ran. Containers are stopped by what started them: StackError."""
        if self.config.contained:
            raise StackError("These servers are containers: make compose-down stops them.")
        return self.supervisor.stop()

    def runs(self) -> bool:
        """Whether there are servers; of containers that is what is assumed."""
        return self.config.contained or self.supervisor.processes() is not None

    def _has(self, name: str) -> bool:
        return name in self.parts

    def _programs(self) -> dict[str, list[str]]:
        return {name: command for name, command in roles.commands(self.config).items() if name in self.parts}

    def _check_ports(self) -> None:
        prefixes = {"s3": "s3", "archive": "archive", "namenode": "namenode", "datanode1": "datanode1",
                    "datanode2": "datanode2", "airflow-api-server": "airflow"}  # fmt: skip
        wanted = tuple(prefix for part, prefix in prefixes.items() if part in self.parts)
        for name, port in self.config.used_ports.items():
            if name.startswith(wanted) and not ports.is_free(port):
                setting = "AIRFLOW_PORT=<port>" if name == "airflow" else "KIRA_PORT_BASE=<port>"
                raise StackError(
                    f"Port {port}, needed for {name.replace('_', ' ')}, is in use by {ports.user_of(port)}: "
                    f"stop that, or choose another port with make run {setting}"
                )

    def _prepare_hdfs(self) -> None:
        if not hadoop.jar_path(self.config).exists():
            self.say(f"Fetching Hadoop {hadoop.VERSION}'s server jar (56 MB) …")
        roles.prepare_namenode(self.config)

    def _migrate(self, environment: dict[str, str]) -> None:
        cluster = postgresql.of_stack(self.config)
        if cluster.make(self.config.secrets.database_password):
            self.say("Making Airflow's database …")
        else:
            cluster.set_password(self.config.secrets.database_password)
        with cluster.running(environment):
            airflow_server.migrate(environment)

    # -- readiness

    def _wait(self) -> None:
        checks: dict[str, Callable[[], bool]] = {
            "s3": self._s3_ready,
            "archive": lambda: _answers(self.config.url("archive") + "/healthz"),
            "namenode": self._hdfs_ready,
            "airflow-api-server": lambda: _answers(self.config.url("airflow") + "/api/v2/monitor/health"),
        }
        end = time.monotonic() + _READY_SECONDS
        for name, ready in checks.items():
            if not self._has(name):
                continue
            while not ready():
                self._fail_if_gone()
                if time.monotonic() > end:
                    raise StackError(
                        f"{NAMES[name]} did not come up within {_READY_SECONDS} s; for the reason see "
                        f"{self.config.log_of(name)}"
                    )
                time.sleep(0.5)
            self.say(f"{NAMES[name]} is up.")
        if self._has("airflow-scheduler"):
            self._prepare_airflow()

    def _fail_if_gone(self) -> None:
        if self.config.contained:
            return
        processes = self.supervisor.processes()
        if processes is None:
            raise StackError(f"The supervisor is gone; see {self.config.logs}/supervisord.log")
        for name, info in processes.items():
            if info["statename"] in ("FATAL", "EXITED"):
                log = self.config.logs / f"{name}.log"
                raise StackError(f"{NAMES[name]} did not come up: {_last_words(log)} (see {log})")

    def s3_client(self) -> Any:
        """A boto3 client with the stack's credentials."""
        secrets = self.config.secrets
        return boto3.client(
            "s3", endpoint_url=self.config.url("s3"), aws_access_key_id=secrets.s3_access_key,
            aws_secret_access_key=secrets.s3_secret_key, region_name="us-east-1",
            config=Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 2}, proxies={}),
        )  # fmt: skip

    def _s3_ready(self) -> bool:
        try:
            S3Mirror(self.s3_client(), BUCKET).ensure_bucket()
        except (BotoCoreError, ClientError, StorageError):
            return False
        return True

    def _hdfs_ready(self) -> bool:
        try:
            bean = "Hadoop:service=NameNode,name=FSNamesystem"
            answer = httpx.get(
                self.config.url("namenode_http") + "/jmx", params={"qry": bean}, timeout=5, trust_env=False
            ).json()["beans"]
            status = "Hadoop:service=NameNode,name=NameNodeInfo"
            info = httpx.get(
                self.config.url("namenode_http") + "/jmx", params={"qry": status}, timeout=5, trust_env=False
            ).json()["beans"]
        except (httpx.HTTPError, ValueError, KeyError):
            return False
        # Of containers some may be away for a while: two hold the replicas of what is written.
        wanted = min(self.config.datanodes, 2) or len(self.parts & {"datanode1", "datanode2"})
        return bool(answer and info and answer[0]["NumLiveDataNodes"] >= wanted and not info[0]["Safemode"])

    def _prepare_airflow(self) -> None:
        api = AirflowApi(self.config)
        try:
            api.make_pools()
            # Another folder than our own may hold some of them only.
            for dag in (name for name in DAGS if (self.config.dags / f"{name}.py").exists()):
                api.wait_for_dag(dag, _READY_SECONDS)
        finally:
            api.close()
        self.say("Airflow has read the DAGs.")

    # -- what runs

    def status(self) -> dict[str, tuple[str, str]]:
        """State and address of every part, by name."""
        running = self.supervisor.processes() or {}
        unknown = "a container" if self.config.contained else "not running"
        addresses = {
            "s3": self.config.url("s3"),
            "archive": self.config.url("archive"),
            "namenode": f"{self.config.stage_url} , {self.config.url('namenode_http')}",
            "airflow-api-server": self.config.url("airflow"),
        }
        return {
            name: (str(running.get(name, {}).get("statename", unknown)).lower(), addresses.get(name, ""))
            for name in self._programs()
        }

    def serve_archive(self, name: str, folder: Path) -> str:
        """Let the archive server show a folder; returns its address."""
        registry = self.config.registry
        known = json.loads(registry.read_text()) if registry.exists() else {}
        if known.get(name) != str(folder):
            registry.with_suffix(".aside").write_text(json.dumps(known | {name: str(folder)}, indent=1))
            shutil.move(registry.with_suffix(".aside"), registry)
        return f"{self.config.url('archive')}/{name}"


def _last_words(log: Path) -> str:
    """What a server said last that looks like a reason."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip(" *")] if log.exists() else []
    reasons = [line for line in lines if re.search(r"error|exception|fatal|refused", line, re.IGNORECASE)]
    return (reasons or lines or ["no word in its log"])[-1].strip()[:300]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False

"""Airflow as part of the local stack: its environment, its processes, and its REST API."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from kira.errors import StackError
from kira.stack import postgresql
from kira.stack.config import BUCKET, CONTAINER_HOSTS, HOST, PROJECT, StackConfig, write_private

USER = "admin"
API = "/api/v2"
POOLS = {
    "kira_archive": (2, "mirror tasks at a time: spares SDSS's servers"),
    "kira_backfill": (1, "the same of backfills, so that the ingestion always has a connection"),
    "kira_spark": (1, "Spark jobs at a time"),
}
_TOKEN_SECONDS = 1800
_PASSED_ON = (
    "KIRA_RETRY_SECONDS", "KIRA_BATCH_ATTEMPTS", "KIRA_ARCHIVE_CONNECTIONS", "KIRA_SCHEDULE", "KIRA_FRAME_SECONDS",
    "KIRA_FRAME_MEMORY_MB", "KIRA_REFERENCE_EVERY", "KIRA_THRESHOLDS", "KIRA_REFERENCE_CATALOGUE",
    "KIRA_SPARK_UI", "KIRA_SPARK_PAGE", "KIRA_HDFS_PAGE", "KIRA_SPARK_PROPERTIES", "KIRA_ALERTS", "KIRA_ALERT_FRAMES",
    "KIRA_IMAGE", "KIRA_COMMIT",
)  # fmt: skip
# What a user has set for other work must not decide what the stack does; what these say is meant for it.
_NOT_INHERITED = ("AIRFLOW", "KIRA_", "SPARK_", "HADOOP_", "PYSPARK_", "PYTHONPATH", "PYTHONHOME", "AWS_", "YARN_")


def environment(config: StackConfig) -> dict[str, str]:
    """Environment of every process of the stack; Airflow, Spark and Kira read their settings from it.

    Secrets travel here and not in command lines, which other users of the machine could see.
    """
    home, secrets = config.home / "airflow", config.secrets
    programs = Path(sys.executable).parent
    database = _database(config)
    s3 = {
        "conn_type": "aws", "login": secrets.s3_access_key, "password": secrets.s3_secret_key,
        "extra": {"endpoint_url": config.url("s3"), "region_name": "us-east-1"},
    }  # fmt: skip
    spark = {"conn_type": "spark", "host": os.environ.get("KIRA_SPARK_MASTER") or _spark_master(config)}
    kira = {
        "KIRA_HOME": str(config.home),
        "KIRA_LEDGER_URL": config.ledger_url,
        "KIRA_STAGE_URL": config.stage_url,
        "KIRA_S3_BUCKET": BUCKET,
        "AIRFLOW_CONN_KIRA_S3": json.dumps(s3),
        "AIRFLOW_CONN_KIRA_SPARK": json.dumps(spark),
    } | {name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)}
    if config.with_hdfs:
        kira["KIRA_HDFS_UI"] = config.url("namenode_http")
        kira.setdefault("KIRA_HDFS_PAGE", f"{kira['KIRA_HDFS_UI']}/webhdfs/v1")
    airflow = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(config.dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(config.plugins),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(max(2, os.cpu_count() or 2)),
        "AIRFLOW__CORE__FERNET_KEY": secrets.fernet_key,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": config.url("airflow") + "/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        # The same driver does both; left alone, Airflow would look for another one.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": database,
        "AIRFLOW__API__HOST": config.bind,
        "AIRFLOW__API__PORT": str(config.ports["airflow"]),
        "AIRFLOW__API__BASE_URL": os.environ.get("KIRA_AIRFLOW_PAGE") or config.url("airflow"),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": secrets.api_secret,
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.jwt_secret,
        "AIRFLOW__API_AUTH__JWT_EXPIRATION_TIME": "86400",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
        # After a power cut, or a killed scheduler, its tasks are taken up again within two minutes instead of ten. The
        # threshold is raised with it: a scheduler that is slow on a busy machine must not be taken for a dead one.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "60",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "120",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(config.logs / "tasks"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    system = {
        "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        # The code that started the stack, in every process: another checkout may be the installed one.
        "PYTHONPATH": str(PROJECT),
        # Spark's driver and web page listen here and nowhere else.
        "SPARK_LOCAL_IP": config.own_address,
        "SPARK_LOCAL_HOSTNAME": config.own_address,
        # Numeric libraries must not start threads of their own: Spark runs one task a core.
        "OMP_NUM_THREADS": "1",
        "no_proxy": _no_proxy(config), "NO_PROXY": _no_proxy(config),
        # Spark looks here before it looks at the PATH, where Java was checked.
        "JAVA_HOME": str(Path(shutil.which("java") or "/usr/bin/java").resolve().parents[1]),
        "KIRA_STACK": str(config.home),
        # Airflow's processes give themselves titles. Written over their environment, where KIRA_STACK is, they would
        # not be known as the stack's any more, and one that outlived its supervisor would keep its port for ever.
        "SPT_NOENV": "1",
    }  # fmt: skip
    if folder := os.environ.get("KIRA_HADOOP_CONF_DIR"):
        system["HADOOP_CONF_DIR"] = folder  # which only those with a Hadoop of their own need
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    return kept | system | kira | airflow | (_of_containers(config) if config.contained else {})


def _database(config: StackConfig) -> str:
    password = config.secrets.database_password
    if config.contained:
        return config.postgres_url("airflow", password)
    return postgresql.of_stack(config).url(password)


def _spark_master(config: StackConfig) -> str:
    if config.contained:
        return f"spark://{config.host('spark')}:{config.ports['spark']}"
    # The 4: in local mode Spark tries a task once unless the master says otherwise, whatever the configuration says.
    return "local[*,4]"


def _of_containers(config: StackConfig) -> dict[str, str]:
    """What is otherwise where tasks are run by workers, which take them from a queue."""
    queue = f"redis://:{quote(config.secrets.queue_password, safe='')}@{config.host('queue')}:{config.ports['queue']}"
    return {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__PARALLELISM": "32",
        "AIRFLOW__CELERY__BROKER_URL": f"{queue}/0",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"{queue}/1",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": os.environ.get("KIRA_WORKER_TASKS") or "4",
    }


def _no_proxy(config: StackConfig) -> str:
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = sorted(set(CONTAINER_HOSTS.values())) if config.contained else []
    return ",".join(filter(None, (given, HOST, "localhost", *hosts)))


def write_files(config: StackConfig) -> None:
    """Folders and the password file that Airflow's simple auth manager reads."""
    for folder in (config.home / "airflow", config.logs / "tasks"):
        folder.mkdir(parents=True, exist_ok=True)
    write_private(config.home / "airflow" / "passwords.json", json.dumps({USER: config.secrets.airflow_password}))


def programs() -> dict[str, list[str]]:
    """Command lines of Airflow's processes.

    The log servers of scheduler and triggerer stay off: they would listen on all addresses, and the api-server reads
    the log files of its own machine without them.
    """
    airflow = str(Path(sys.executable).with_name("airflow"))
    return {
        "airflow-api-server": [airflow, "api-server"],
        "airflow-scheduler": [airflow, "scheduler", "--skip-serve-logs"],
        "airflow-dag-processor": [airflow, "dag-processor"],
        "airflow-triggerer": [airflow, "triggerer", "--skip-serve-logs"],
    }


def worker() -> list[str]:
    """Command line of a worker, which the local stack does not need: its scheduler runs the tasks."""
    return [str(Path(sys.executable).with_name("airflow")), "celery", "worker", "--skip-serve-logs"]


def migrate(environment: dict[str, str]) -> None:
    """Make Airflow's tables, or bring them up to this version; StackError with its own words."""
    _airflow(environment, "Airflow's database could not be made", "db", "migrate")


def make_pools(environment: dict[str, str]) -> None:
    """Create the pools that are not there, without the API server; StackError with Airflow's own words."""
    failed = "Airflow's pools could not be made"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pools.json"
        _airflow(environment, failed, "pools", "export", str(file))
        # Of those that are there somebody may have set the slots.
        missing = POOLS.keys() - json.loads(file.read_text())
        if missing:
            file.write_text(json.dumps({name: _pool(name) for name in missing}))
            _airflow(environment, failed, "pools", "import", str(file))


def _pool(name: str) -> dict[str, Any]:
    slots, why = POOLS[name]
    return {"slots": slots, "description": why, "include_deferred": True}


def _airflow(environment: dict[str, str], failed: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "airflow", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise StackError(f"{failed}: {(done.stdout + done.stderr).strip()[-800:]}")


class AirflowApi:
    """Airflow's public REST API, with the stack's own login.

    Parameters
    ----------
    config : StackConfig
    """

    def __init__(self, config: StackConfig) -> None:
        self._config = config
        self._http = httpx.Client(base_url=config.url("airflow"), timeout=60, trust_env=False)
        self._token_until = 0.0

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Answer of one request as Python values.

        Raises
        ------
        StackError
            If Airflow does not answer or refuses; with its own words.
        """
        try:
            if time.monotonic() > self._token_until:
                self._login()
            answer = self._http.request(method, API + path, **options)
        except httpx.TransportError as error:
            raise StackError(
                f"Airflow does not answer at {self._config.url('airflow')}: {error}. See what runs with: "
                f"{self._config.overview}"
            ) from error
        if answer.is_error:
            raise StackError(f"Airflow refused {method} {path}: {answer.status_code} {_detail(answer)}")
        return answer.json() if answer.content else None

    def _login(self) -> None:
        secret = self._config.secrets.airflow_password
        answer = self._http.post("/auth/token", json={"username": USER, "password": secret})
        if answer.is_error:
            raise StackError(f"Airflow refused the login of the stack's user {USER}: {answer.status_code}")
        self._http.headers["Authorization"] = "Bearer " + answer.json()["access_token"]
        self._token_until = time.monotonic() + _TOKEN_SECONDS

    def set_connection(self, connection: dict[str, Any]) -> None:
        """Create or replace a connection."""
        self._create("connection", connection["connection_id"], connection, "overwrite")

    def make_pools(self) -> None:
        """Create the pools that are not there; of others somebody may have set the slots."""
        for name in POOLS:
            self._create("pool", name, {"name": name, **_pool(name)}, "skip")

    def set_variable(self, key: str, value: str, description: str) -> None:
        """Create or replace a variable."""
        self._create("variable", key, {"key": key, "value": value, "description": description}, "overwrite")

    def _create(self, kind: str, name: str, entity: dict[str, Any], existing: str) -> None:
        entities = {"actions": [{"action": "create", "entities": [entity], "action_on_existence": existing}]}
        done = self.call("PATCH", f"/{kind}s", json=entities)["create"]
        if done and done.get("errors"):
            raise StackError(f"Airflow refused the {kind} {name}: {done['errors']}")

    def variable(self, key: str) -> str | None:
        """Value of a variable; None if there is none of that name."""
        try:
            return str(self.call("GET", f"/variables/{key}")["value"])
        except StackError as error:
            if " 404 " in str(error):
                return None
            raise

    def wait_for_dag(self, dag: str, seconds: float) -> None:
        """Wait until the dag-processor has read a DAG; unpause it.

        Raises
        ------
        StackError
            With the import error if the DAG file is broken.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.call("PATCH", f"/dags/{dag}", json={"is_paused": False})
            except StackError:
                errors = self.call("GET", "/importErrors")["import_errors"]
                if errors:
                    raise StackError(f"{errors[0]['filename']} is broken: {errors[0]['stack_trace'][-800:]}") from None
                time.sleep(1)
            else:
                return
        raise StackError(
            f"Airflow did not find the DAG {dag} within {seconds:.0f} s; see "
            f"{self._config.log_of('airflow-dag-processor')}"
        )

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        """Start a DAG run and return its id."""
        run = self.call("POST", f"/dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def run_state(self, dag: str, run: str) -> str:
        """State of a DAG run: queued, running, success or failed."""
        return str(self.call("GET", f"/dags/{dag}/dagRuns/{run}")["state"])

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """All task instances of a DAG run."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.call(
                "GET", f"/dags/{dag}/dagRuns/{run}/taskInstances", params={"limit": 100, "offset": len(found)}
            )
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return found

    def close(self) -> None:
        """Close connections."""
        self._http.close()


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("detail", ""))[:500]
    except ValueError:
        return answer.text[:200]

"""Airflow as part of the local stack: its environment, its processes, and its REST API."""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from kira.errors import StackError
from kira.stack import postgresql
from kira.stack.config import BUCKET, HOST, StackConfig, write_private

USER = "admin"
API = "/api/v2"
_TOKEN_SECONDS = 1800
_PASSED_ON = (
    "KIRA_RETRY_SECONDS", "KIRA_BATCH_ATTEMPTS", "KIRA_ARCHIVE_CONNECTIONS", "KIRA_SCHEDULE", "KIRA_FRAME_SECONDS",
    "KIRA_FRAME_MEMORY_MB", "KIRA_REFERENCE_EVERY", "KIRA_THRESHOLDS", "KIRA_REFERENCE_CATALOGUE",
    "KIRA_SPARK_UI", "KIRA_ALERTS", "KIRA_ALERT_FRAMES",
)  # fmt: skip
# What a user has set for other work must not decide what the stack does; what these say is meant for it.
_NOT_INHERITED = ("AIRFLOW", "KIRA_", "SPARK_", "HADOOP_", "PYSPARK_", "PYTHONPATH", "PYTHONHOME", "AWS_", "YARN_")


def environment(config: StackConfig) -> dict[str, str]:
    """Environment of every process of the stack; Airflow, Spark and Kira read their settings from it.

    Secrets travel here and not in command lines, which other users of the machine could see.
    """
    home, secrets = config.home / "airflow", config.secrets
    programs = Path(sys.executable).parent
    database = postgresql.of_stack(config).url(secrets.database_password)
    s3 = {
        "conn_type": "aws", "login": secrets.s3_access_key, "password": secrets.s3_secret_key,
        "extra": {"endpoint_url": config.url("s3"), "region_name": "us-east-1"},
    }  # fmt: skip
    # The 4: in local mode Spark tries a task once unless the master says otherwise, whatever the configuration says.
    spark = {"conn_type": "spark", "host": os.environ.get("KIRA_SPARK_MASTER", "local[*,4]")}
    kira = {
        "KIRA_HOME": str(config.home),
        "KIRA_LEDGER_URL": config.ledger_url,
        "KIRA_STAGE_URL": config.stage_url,
        "KIRA_S3_BUCKET": BUCKET,
        "AIRFLOW_CONN_KIRA_S3": json.dumps(s3),
        "AIRFLOW_CONN_KIRA_SPARK": json.dumps(spark),
    } | {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    if config.with_hdfs:
        kira["KIRA_HDFS_UI"] = config.url("namenode_http")
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
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(config.ports["airflow"]),
        "AIRFLOW__API__BASE_URL": config.url("airflow"),
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
        # Spark's driver and web page listen here and nowhere else.
        "SPARK_LOCAL_IP": HOST,
        "SPARK_LOCAL_HOSTNAME": HOST,
        # Numeric libraries must not start threads of their own: Spark runs one task a core.
        "OMP_NUM_THREADS": "1",
        "no_proxy": _no_proxy(), "NO_PROXY": _no_proxy(),
        # Spark looks here before it looks at the PATH, where Java was checked.
        "JAVA_HOME": str(Path(shutil.which("java") or "/usr/bin/java").resolve().parents[1]),
        "KIRA_STACK": str(config.home),
        # Airflow's processes give themselves titles. Written over their environment, where KIRA_STACK is, they would
        # not be known as the stack's any more, and one that outlived its supervisor would keep its port for ever.
        "SPT_NOENV": "1",
    }  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    return kept | system | kira | airflow


def _no_proxy() -> str:
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    return ",".join(filter(None, (given, HOST, "localhost")))


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
                f"Airflow does not answer at {self._config.url('airflow')}: {error}. See what runs with: make status"
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
        self._overwrite("connection", connection["connection_id"], connection)

    def set_pool(self, name: str, slots: int, description: str) -> None:
        """Create or replace a pool."""
        pool = {"name": name, "slots": slots, "description": description, "include_deferred": True}
        self._overwrite("pool", name, pool)

    def set_variable(self, key: str, value: str, description: str) -> None:
        """Create or replace a variable."""
        self._overwrite("variable", key, {"key": key, "value": value, "description": description})

    def _overwrite(self, kind: str, name: str, entity: dict[str, Any]) -> None:
        entities = {"actions": [{"action": "create", "entities": [entity], "action_on_existence": "overwrite"}]}
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
        raise StackError(f"Airflow did not find the DAG {dag} within {seconds:.0f} s; see {self._config.logs}.")

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

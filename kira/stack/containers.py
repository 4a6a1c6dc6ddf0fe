"""A server of the stack as the main process of a container: its preparation, its environment, and its command.

docker-compose.yml names the roles; nothing else about a server stands there, so that the commands are those that the
local stack runs.
"""

import os
import time
from collections.abc import Callable, Mapping

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from kira.errors import InvalidInput, StackError, StorageError
from kira.ledger import Ledger
from kira.stack import airflow_server, hadoop, roles, spark_servers
from kira.stack.config import LEDGER, StackConfig, write_private
from kira.storage import open_store

_INIT = "airflow-init"
ROLES = (
    "s3", "archive", "namenode", "datanode", "queue", "spark-master", "spark-worker", "spark-history", _INIT,
    *airflow_server.programs(), "airflow-worker",
)  # fmt: skip
EVENTS = "spark-events"
"""Folder of Spark's event logs on HDFS."""
PROPERTIES = "spark.properties"
"""File with Spark's settings, of its servers and of the jobs, unless `KIRA_SPARK_PROPERTIES` names one for the jobs."""
_QUEUE = "queue.conf"
_HDFS_SECONDS = 120
"""For DataNodes to come, at most."""


def command(config: StackConfig, role: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Command line of a role.

    Parameters
    ----------
    config : StackConfig
        Of containers.
    role : str
        One of `ROLES`; airflow-init has none, it is work that ends.
    environment : mapping
        May have `KIRA_EXECUTOR_CORES` (of a Spark worker, default 1) and `KIRA_EXECUTOR_MEMORY` (default 1g).

    Raises
    ------
    InvalidInput
        If there is no such role, or a number is none.
    """
    ports, properties = config.ports, config.home / PROPERTIES

    def spark_worker() -> list[str]:
        cores, memory = _of_executors(environment)
        return spark_servers.worker(
            f"spark://{config.host('spark')}:{ports['spark']}", config.own_address, ports["worker"],
            ports["worker_http"], cores=cores, memory=memory, folder=config.home / "spark", properties=properties,
        )  # fmt: skip

    # Made only for the role that is asked for: each looks at no more than its own settings.
    found: dict[str, Callable[[], list[str]]] = {
        "s3": lambda: roles.s3(config),
        "archive": lambda: roles.archive(config),
        "namenode": lambda: hadoop.command(config, "namenode"),
        # Each in a container of its own: all of them are a first one.
        "datanode": lambda: hadoop.command(config, "datanode1"),
        "queue": lambda: ["redis-server", str(config.home / _QUEUE)],
        "spark-master": lambda: spark_servers.master(config.own_host, ports["spark"], ports["spark_http"], properties),
        "spark-worker": spark_worker,
        "spark-history": lambda: spark_servers.history(properties),
        "airflow-worker": airflow_server.worker,
    }  # fmt: skip
    if role in found:
        return found[role]()
    if line := airflow_server.programs().get(role):
        return line
    raise InvalidInput(f"There is no role {role!r}: it is one of {', '.join(ROLES)}.")


def serve(config: StackConfig, role: str) -> None:
    """Become a server; returns only where the role is work that ends.

    Raises
    ------
    InvalidInput
        Outside of a container, or if there is no such role.
    StackError
        If what it needs cannot be prepared.
    """
    if not config.contained:
        raise InvalidInput("A single server runs in a container only: make compose-up. On one machine: kira stack up.")
    config.home.mkdir(parents=True, exist_ok=True)
    environment = _environment(config, role)
    if role == _INIT:
        _initialize(config, environment)
        return
    line = command(config, role)
    prepare(config, role)
    print(f"kira: {role} begins", flush=True)
    os.execvpe(line[0], line, environment)  # noqa: S606 - of our own making, and no shell


def _environment(config: StackConfig, role: str) -> dict[str, str]:
    """Environment of a role: of Airflow's all there is, of a server no more than it was given."""
    if role.startswith("airflow"):
        found = airflow_server.environment(config)
        found.setdefault("KIRA_SPARK_PROPERTIES", str(config.home / PROPERTIES))
        return found
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KIRA_")}
    if role.startswith("spark"):
        kept |= {"SPARK_LOCAL_IP": config.own_address, "OMP_NUM_THREADS": "1", "SPARK_DAEMON_MEMORY": "384m"}
    return kept


def spark_properties(config: StackConfig, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Settings of Spark in containers, of its servers and of the jobs; StackError if its secret is not known."""
    if not config.secrets.spark_secret:
        raise StackError("KIRA_SPARK_SECRET is empty: make compose-up makes one, in the file .env.")
    cores, memory = _of_executors(environment)
    return {
        # Whoever does not know the secret cannot start a job, nor pass for an executor. A driver takes it from here
        # alone; executors are given it by their worker, in their environment.
        "spark.authenticate": "true",
        "spark.authenticate.secret": config.secrets.spark_secret,
        "spark.executor.cores": str(cores),
        "spark.executor.memory": memory,
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": _events(config),
        "spark.history.fs.logDirectory": _events(config),
        "spark.history.fs.cleaner.enabled": "true",
        "spark.history.ui.port": str(config.ports["history_http"]),
        # The driver's own page would be reached by nobody; the history server's shows the same.
        "spark.ui.enabled": "false",
    }


def prepare(config: StackConfig, role: str) -> None:
    """Write the files that a role's server reads when it starts."""
    steps: dict[str, Callable[[StackConfig], None]] = {
        "s3": roles.prepare_s3,
        "archive": roles.prepare_archive,
        "namenode": roles.prepare_namenode,
        "datanode": roles.prepare_datanode,
        "queue": _write_queue,
        "airflow-api-server": airflow_server.write_files,
        "airflow-worker": _write_properties,
        "spark-master": _write_properties,
        "spark-worker": _write_properties,
        "spark-history": _write_properties,
    }
    if role in steps:
        steps[role](config)


def _write_properties(config: StackConfig) -> None:
    text = "".join(f"{name} {value}\n" for name, value in spark_properties(config).items())
    write_private(config.home / PROPERTIES, text)


def _write_queue(config: StackConfig) -> None:
    """Configure Redis. What is on its way in it is kept: a task that was handed out is not lost with it."""
    folder = config.home / "queue"
    folder.mkdir(exist_ok=True)
    write_private(
        config.home / _QUEUE,
        f"bind {config.bind}\nport {config.ports['queue']}\nrequirepass {config.secrets.queue_password}\n"
        f'dir {folder}\nappendonly yes\nsave ""\nmaxmemory-policy noeviction\n',
    )


def _events(config: StackConfig) -> str:
    return f"{config.hdfs_url}/{EVENTS}"


def _initialize(config: StackConfig, environment: dict[str, str]) -> None:
    """Databases, their tables, Airflow's pools, and folders on HDFS: all that must be there before the rest starts."""
    secrets = config.secrets
    _make_database(config, "airflow", secrets.database_password)
    _make_database(config, LEDGER, secrets.ledger_password)
    print("kira: making Airflow's tables …", flush=True)
    airflow_server.migrate(environment)
    airflow_server.make_pools(environment)
    Ledger(config.ledger_url)
    _make_events(config)
    print("kira: all is ready for Airflow's servers", flush=True)


def _make_events(config: StackConfig) -> None:
    """Have the folder of the event logs, which the history server and Spark's drivers expect to be there."""
    store = open_store(_events(config))
    end = time.monotonic() + _HDFS_SECONDS
    while True:
        try:
            store.write("made/now", b"")
            store.delete("made")
        except StorageError:
            # The NameNode is there, and waits for its DataNodes.
            if time.monotonic() > end:
                raise
            time.sleep(2)
        else:
            return


def _make_database(config: StackConfig, name: str, password: str) -> None:
    """Have a user and a database of that name; the user's password is set anew."""
    if not password or not config.secrets.postgres_password:
        raise StackError("The databases' passwords are empty: make compose-up makes them, in the file .env.")
    url = make_url(config.postgres_url("postgres", config.secrets.postgres_password))
    try:
        with psycopg.connect(
            host=url.host, port=url.port, user=url.username, password=str(url.password), dbname="postgres",
            autocommit=True, connect_timeout=30,
        ) as connection:  # fmt: skip
            user = sql.Identifier(name)
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(user))
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(user, sql.Literal(password)))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                connection.execute(
                    # Whatever the server was set up with: its own language may have no letters but ASCII's.
                    sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0").format(user, user)
                )
    except psycopg.Error as error:
        raise StackError(f"PostgreSQL at {url.host}:{url.port} refuses to make the database {name}: {error}") from error


def _of_executors(environment: Mapping[str, str]) -> tuple[int, str]:
    """Cores and memory of a Spark worker, which has one executor; InvalidInput if the cores are no number."""
    cores = environment.get("KIRA_EXECUTOR_CORES") or "1"
    if not cores.isdecimal() or not 1 <= int(cores) <= 1024:
        raise InvalidInput(f"KIRA_EXECUTOR_CORES={cores} is not a number from 1 to 1024.")
    return int(cores), environment.get("KIRA_EXECUTOR_MEMORY") or "1g"

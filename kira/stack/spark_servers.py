"""Command lines of a standalone Spark cluster's servers, which come with PySpark.

What they have in common is set in their environment, `SPARK_DAEMON_MEMORY`, or in a file of settings; so is the secret
by which they know each other (`spark.authenticate`), for it must not be seen in a command line.
"""

from pathlib import Path

import pyspark

_PROGRAM = Path(pyspark.__file__).parent / "bin" / "spark-class"
MASTER = {
    # Its REST gateway takes jobs from anybody, without the secret.
    "spark.master.rest.enabled": "false",
    # Its page, which asks for no login, would end jobs and send workers away.
    "spark.ui.killEnabled": "false",
    "spark.master.ui.decommission.allow.mode": "DENY",
}
"""What a master must be told, for Spark's defaults are others; it wins over a file of settings."""


def master(host: str, port: int, page: int, properties: Path | None = None) -> list[str]:
    """Command line of the master.

    Parameters
    ----------
    host : str
        Name or address at which others find it, and on which it listens.
    port, page : int
        For workers and drivers, and for its web page.
    properties : Path, optional
        File of Spark's settings.
    """
    options = " ".join(f"-D{name}={value}" for name, value in MASTER.items())
    return [
        "env", f"SPARK_MASTER_OPTS={options}",
        str(_PROGRAM), "org.apache.spark.deploy.master.Master", "--host", host, "--port", str(port),
        "--webui-port", str(page), *_settings(properties),
    ]  # fmt: skip


def worker(
    url: str, host: str, port: int, page: int, *, cores: int, memory: str, folder: Path, properties: Path | None = None
) -> list[str]:
    """Command line of a worker.

    Parameters
    ----------
    url : str
        Of the master, `spark://host:port`.
    host : str
    port, page : int
    cores : int
        That its executors may use together.
    memory : str
        The same of memory, of Java's alone: Python's workers need more beside it.
    folder : Path
        For the files and logs of its executors.
    properties : Path, optional
    """
    return [
        str(_PROGRAM), "org.apache.spark.deploy.worker.Worker", "--host", host, "--port", str(port),
        "--webui-port", str(page), "--cores", str(cores), "--memory", memory, "--work-dir", str(folder),
        *_settings(properties), url,
    ]  # fmt: skip


def history(properties: Path) -> list[str]:
    """Command line of the history server; its file of settings says where the jobs' event logs are."""
    return [str(_PROGRAM), "org.apache.spark.deploy.history.HistoryServer", *_settings(properties)]


def _settings(properties: Path | None) -> list[str]:
    return ["--properties-file", str(properties)] if properties else []

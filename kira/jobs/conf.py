"""How Spark is set up for the extraction, wherever it runs."""

import re
from collections.abc import Mapping
from pathlib import Path

from kira.errors import InvalidInput

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

SPARK_CONF = {
    # Waiting for locality has doubled the makespan; a read over the network costs less.
    "spark.locality.wait": "0",
    "spark.driver.memory": "1g",
    "spark.python.worker.reuse": "true",
    # One thread a core: a library that takes all of them for itself would slow down its neighbours.
    **{f"spark.executorEnv.{name}": "1" for name in _ONE_THREAD},
    "spark.ui.showConsoleProgress": "false",
    # A driver's page asks for no login.
    "spark.ui.killEnabled": "false",
    # A killed driver is Airflow's to retry, a killed worker Spark's.
    "spark.task.maxFailures": "4",
}


def without_those_of(file: Path, defaults: Mapping[str, str] = SPARK_CONF) -> dict[str, str]:
    """Leave out of the defaults what a properties file sets: on the command line they would win over the file.

    Raises
    ------
    InvalidInput
        If the file cannot be read.
    """
    try:
        text = file.read_text("utf-8", errors="replace")  # as for java.util.Properties any bytes will do
    except OSError as error:
        raise InvalidInput(
            f"KIRA_SPARK_PROPERTIES={file} cannot be read ({error.strerror}): name a file of Spark properties that "
            "Airflow's tasks can read, or unset the variable."
        ) from error
    return {name: value for name, value in defaults.items() if not re.search(_SETS % re.escape(name), text, re.M)}


_SETS = r"^[ \t\f]*%s[ \t\f]*(?:[=: \t\f]|$)"
"""A line of a properties file: a name, and what ends it."""

"""Cores as a real Spark tells them, on this machine alone and with executors, whatever a properties file says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kira.stack.config import HOST

pytestmark = pytest.mark.integration
PROJECT = Path(__file__).resolve().parents[2]
ASK = """
import json
from dataclasses import astuple
from pyspark import SparkContext
from kira.jobs.executors import cores_of

context = SparkContext()
print("told:", json.dumps(astuple(cores_of(context, 1000))))
context.stop()
"""


@pytest.mark.parametrize(("master", "cores"), [("local[3]", 3), ("local-cluster[2,1,512]", 2)])
def test_no_more_than_there_are(master: str, cores: int, tmp_path: Path) -> None:
    (tmp_path / "spark-defaults.conf").write_text(
        f"spark.master {master}\nspark.driver.host {HOST}\nspark.ui.enabled false\nspark.executor.memory 512m\n"
        "spark.default.parallelism 200\nspark.scheduler.maxRegisteredResourcesWaitingTime 300s\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, check=False, timeout=600, cwd=tmp_path,
        env=kept | {"PYTHONPATH": str(PROJECT), "SPARK_CONF_DIR": str(tmp_path), "SPARK_LOCAL_IP": HOST},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = next(line for line in done.stdout.splitlines() if line.startswith("told: "))
    assert json.loads(told.removeprefix("told: ")) == [cores, cores]

"""DAG files hold wiring only, and stay light: Airflow imports them again for every task."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kira.sdss import ALL_RELEASES
from kira.sdss.selection import NUMBERS_PATTERN

PROJECT = Path(__file__).resolve().parents[2]
DAG_FILES = sorted((PROJECT / "dags").glob("*.py"))
HEAVY = ("pyspark", "astropy", "numpy", "sep", "boto3", "pyarrow", "hdfs_native", "galsim", "sqlalchemy", "kira.stages")


@pytest.mark.parametrize("module", HEAVY)
def test_the_linter_bans_heavy_imports_in_dags(module: str) -> None:
    code = f'"""A DAG."""\n\nimport {module}\n\nprint({module})\n'
    command = [sys.executable, "-m", "ruff", "check", "--stdin-filename", "dags/some_dag.py", "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert "TID253" in done.stdout


def test_dags_import_nothing_heavy(tmp_path: Path) -> None:
    """Beyond what `airflow.sdk` itself imports, in a process of its own."""
    code = (
        "import runpy, sys, airflow.sdk\n"
        f"for path in {[str(path) for path in DAG_FILES]!r}: runpy.run_path(path)\n"
        f"print(*(name for name in {(*HEAVY, 'kira')!r} if name in sys.modules))\n"
    )
    environment = os.environ | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__UNIT_TEST_MODE": "False"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    loaded = set(done.stdout.split())
    assert loaded <= {"sqlalchemy"}, "the SDK may know of SQLAlchemy; nothing else may come in"


def test_the_form_takes_what_a_selection_takes() -> None:
    """The DAG repeats the pattern, because importing it would import the package."""
    constants = {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse((PROJECT / "dags" / "sdss_ingest.py").read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert constants["NUMBERS"] == NUMBERS_PATTERN
    assert [str(release) for release in ALL_RELEASES] == [f"dr{number}" for number in range(1, 19)]


def test_only_the_glue_imports_airflow() -> None:
    for path in (PROJECT / "kira").rglob("*.py"):
        if path.name != "airflow_glue.py":
            for node in ast.walk(ast.parse(path.read_text())):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                assert not [name for name in names if name.split(".")[0] == "airflow"], path

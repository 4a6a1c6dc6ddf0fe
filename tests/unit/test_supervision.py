"""Processes of a stack are known by the mark in their environment, whatever they call themselves."""

import subprocess
import sys
from pathlib import Path

from kira.stack.airflow_server import environment
from kira.stack.config import StackConfig
from kira.stack.supervision import Supervisor


def test_a_process_that_gave_itself_a_long_title_is_swept(tmp_path: Path) -> None:
    config = StackConfig(tmp_path)
    code = (
        "import setproctitle, sys, time; setproctitle.setproctitle('airflow ' * 500); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], env=environment(config), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert Supervisor(config).sweep()
            process.wait(20)
        finally:
            process.kill()
    assert not Supervisor(config).sweep()

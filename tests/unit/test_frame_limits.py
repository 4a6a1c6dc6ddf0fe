"""What one frame may take: settings, and limits that hold."""

import subprocess
import sys

import numpy as np
import pytest

from kira.errors import InvalidInput
from kira.extraction.limits import FrameLimits

VARIABLES = ("KIRA_FRAME_MEMORY_MB", "KIRA_FRAME_SECONDS")


def test_limits_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert FrameLimits.from_environment() == FrameLimits(3072, 600)
    monkeypatch.setenv("KIRA_FRAME_MEMORY_MB", " 4096 ")
    monkeypatch.setenv("KIRA_FRAME_SECONDS", "30")
    assert FrameLimits.from_environment() == FrameLimits(4096, 30)
    monkeypatch.setenv("KIRA_FRAME_SECONDS", "")
    assert FrameLimits.from_environment() == FrameLimits(4096, 600)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("text", ["0", "-1", "3e3", "10 GB", "9" * 500, "٣٠٧٢", "inf", "1_000"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, text: str) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(InvalidInput, match=f"^{variable}='.*' is not a whole number from ") as refused:
        FrameLimits.from_environment()
    assert len(str(refused.value)) < 200


def test_memory_over_the_limit_is_an_error_only_inside() -> None:
    with pytest.raises(MemoryError), FrameLimits(memory_mb=3072).memory():
        np.empty(1 << 29)  # 4 GiB, none of which is touched
    assert np.empty(1 << 29).nbytes == 4 << 30


def in_python(body: str) -> subprocess.CompletedProcess[str]:
    code = f"import ctypes\nfrom kira.extraction.limits import FrameLimits\n{body}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_a_call_that_holds_the_interpreter_is_ended_and_says_where_it_was() -> None:
    ended = in_python("def measure(): ctypes.PyDLL(None).sleep(50)\nwith FrameLimits(seconds=1).time(): measure()")
    assert ended.returncode == 1
    assert "Timeout (0:00:01)!" in ended.stderr
    assert "in measure" in ended.stderr


def test_time_between_frames_does_not_count() -> None:
    ended = in_python(
        "import time\nfor _ in range(2):\n  with FrameLimits(seconds=1).time(): pass\n  time.sleep(0.8)\nprint('done')"
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n")

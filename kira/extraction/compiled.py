"""Where the compiled kernels are kept, and that no two processes compile them at the same time.

Numba keeps what it compiled, but looks at the one file that a kernel stands in: it would take old code for good after a
change in another file from which a kernel calls something. So the folder's name has a hash of all of them.
"""

import fcntl
import hashlib
import logging
import os
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

    Below `NUMBA_CACHE_DIR` where that is set, else in the user's cache (`XDG_CACHE_HOME`, `~/.cache`). It holds
    code that is run: others must not be able to write into it. Where none can be made, a temporary one that is this
    process's own.
    """
    base = Path(os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("kira"))
    made = base / f"kernels-{_version()}"
    try:
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(made, os.W_OK | os.X_OK):
            raise PermissionError(f"{made} cannot be written to")
    except OSError as error:
        made = Path(tempfile.mkdtemp(prefix="kira-kernels-"))
        log.warning("Compiled kernels cannot be kept (%s): each process compiles its own; set NUMBA_CACHE_DIR", error)
    return made


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

"""Where the compiled kernels are kept, and that no two processes compile them at the same time.

Numba keeps what it compiled, but looks at the one file that a kernel stands in: it would take old code for good after a
change in another file from which a kernel calls something. So the folder's name has a hash of all of them, and of the
processor that they are compiled for: homes are shared between machines that differ.

Where the package lies does not matter: a copy of it, such as a Spark executor is given for each job, finds what another
copy has compiled. A copy may bring compiled kernels along, in `BROUGHT` beside the package.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import platformdirs
from numba.core.caching import UserProvidedCacheLocator
from typing_extensions import override

log = logging.getLogger(__name__)

BROUGHT = "kira-kernels"
_SOURCES = Path(__file__).with_name("fast")
_DONE = "complete"
_KERNELS = "fast"
"""Folder of what Numba compiled, below that of the version."""
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
    processor = f"{numba.config.CPU_NAME or llvm.get_host_cpu_name()} {numba.config.CPU_FEATURES or _features()}"
    versions = f"{numba.__version__} {numba.np.numpy_support.numpy_version} {llvm.get_process_triple()} {processor}"
    found = hashlib.sha256(versions.encode())
    for path in sorted(_SOURCES.glob("*.py")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:12]


def _features() -> str:
    return str(llvm.get_host_cpu_features().flatten())


class ByContent(UserProvidedCacheLocator):  # type: ignore[misc]
    """Numba's place for Kira's kernels: the same wherever the package lies."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._cache_path = str(folder() / _KERNELS)

    @classmethod
    @override
    def from_function(cls, py_func: Any, py_file: str) -> "ByContent | None":
        ours = Path(py_file).absolute().parent == _SOURCES.absolute()
        return super().from_function(py_func, py_file) if ours else None


def keep() -> None:
    """Have Numba keep what it compiles from here on in `folder`."""
    numba.config.CACHE_DIR = str(folder())
    # The setting of NUMBA_CACHE_LOCATOR_CLASSES; functions of others go where they went before.
    others = numba.config.CACHE_LOCATOR_CLASSES or _NUMBAS
    numba.config.CACHE_LOCATOR_CLASSES = f"{ByContent.__module__}.{ByContent.__qualname__},{others}"


_NUMBAS = "UserProvidedCacheLocator,InTreeCacheLocator,UserWideCacheLocator,IPythonCacheLocator,ZipCacheLocator"


def finished() -> list[Path]:
    """Files of the compiled kernels, for a copy of the package to bring along; none where they are not complete."""
    done = folder() / _DONE
    return [done, *sorted(path for path in (folder() / _KERNELS).iterdir() if path.is_file())] if done.exists() else []


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
        if _brought():
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


def _brought() -> bool:
    """Take over kernels that this copy of the package has brought along, if they are for this machine."""
    brought = _SOURCES.parents[2] / BROUGHT / folder().name
    if not (brought / _DONE).exists():
        return False
    shutil.copytree(brought / _KERNELS, folder() / _KERNELS, dirs_exist_ok=True)
    (folder() / _DONE).touch()
    log.info("Kira's kernels came with the code, compiled for a machine like this one")
    return True


if __name__ == "__main__":  # beside other work that is to be done first
    os.nice(5)
    from kira.extraction.compiled import ready as make_ready  # of the module that others will find imported

    make_ready()

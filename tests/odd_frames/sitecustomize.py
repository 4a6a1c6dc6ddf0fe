"""Makes chosen frames misbehave, in every Python process that has this folder on its PYTHONPATH.

Spark's workers are processes that no test can reach into, and no real frame hangs or crashes SEP on demand. What it
does is real: memory that is taken, a signal, a crash, a call into C that holds the interpreter's lock and does not come
back.
`ODD_FRAMES` says which: `dr7-40-004192-4-0302-u=hang,dr7-40-004192-4-0303-u=kill`; `ODD_MARK` names a file that
is made as it begins, with the number of the process. What hangs `once` does not where that file is there.
"""

import ctypes
import os
import signal
import sys
from importlib.machinery import PathFinder
from pathlib import Path

ODD = dict(item.split("=") for item in os.environ.get("ODD_FRAMES", "").split(",") if item)
GIGABYTES = 8
"""More than the limit of a test, less than would hurt the machine if there were none."""


def _misbehave(kind):
    if kind and (mark := os.environ.get("ODD_MARK")):
        if kind == "once" and Path(mark).exists():
            return
        Path(mark).with_suffix(".aside").write_text(str(os.getpid()))
        Path(mark).with_suffix(".aside").replace(mark)
    if kind in ("hang", "once"):
        ctypes.PyDLL(None).sleep(3600)
    elif kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "crash":
        ctypes.string_at(0)
    elif kind == "eat":
        import numpy

        eaten = [numpy.empty(1 << 24) for _ in range(8 * GIGABYTES)]  # not touched: it counts all the same
        raise RuntimeError(f"{len(eaten)} x 128 MiB could be had")


def _odd_extract(module):
    extract = module.extract

    def odd(frame, parameters):
        _misbehave(ODD.get(str(frame.id)))
        return extract(frame, parameters)

    module.extract = odd


def _no_writing(module):
    from kira.errors import StorageError

    def refuse(*_, **__):
        raise StorageError("part-x.parquet could not be written: no space left on device")

    module.parquet_bytes = refuse


CHANGES = {"kira.extraction.sources": _odd_extract} if ODD else {}
if os.environ.get("ODD_WRITING"):
    CHANGES["kira.catalog.writing"] = _no_writing


class _Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in CHANGES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            CHANGES[name](module)

        spec.loader.exec_module = exec_module
        return spec


if CHANGES:
    sys.meta_path.insert(0, _Finder)

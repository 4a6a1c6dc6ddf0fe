"""The Python packages that workers of Spark need, as an archive that Spark unpacks beside each executor.

For clusters whose machines have nothing but Java, and Python if need be. Kira's own code is not in it: each job brings
that (`kira.jobs.shipping`). What belongs in is found out, not listed: a worker is brought up in a process of its own,
and what it has loaded by then is taken, with all that this requires.
"""

import gzip
import json
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from io import BytesIO
from pathlib import Path

from packaging.requirements import Requirement

from kira.errors import InvalidInput

_LOADED = """
import json, sys
from importlib.metadata import packages_distributions
import kira.jobs.extract
from kira.extraction import Profile
from kira.stages.extraction import get_ready
for name in ("survey", "kira"):
    get_ready(Profile.named(name))
print(json.dumps(sorted({m.partition(".")[0] for m in sys.modules})))
print(json.dumps(packages_distributions()))
"""
_BROUGHT_BY_OTHERS = {"kira", "pyspark", "pyspark-client", "py4j"}
"""By each job, and by Spark."""
PYTHON = "python"
"""Folder of the interpreter in the archive, where there is one."""


def needed() -> list[str]:
    """Names of the distributions that a worker loads, and of all that these require."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED], capture_output=True, text=True, check=False, timeout=600
    )  # fmt: skip
    if done.returncode:
        raise InvalidInput(f"A worker cannot be brought up on this machine: {done.stderr.strip()[-500:]}")
    loaded, known = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    waiting = {_canonical(name) for module in loaded for name in known.get(module, ())}
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found | _BROUGHT_BY_OTHERS:
            found.add(name)
            waiting |= _required(name)
    return sorted(found)


def _required(name: str) -> set[str]:
    requirements = (Requirement(text) for text in distribution(name).requires or ())
    wanted = {_canonical(one.name) for one in requirements if not one.marker or one.marker.evaluate({"extra": ""})}
    return {one for one in wanted if _installed(one)}


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def pack(target: Path, *, python: bool = False) -> list[str]:
    """Write the archive, a `.tar.gz` with the packages at its top; returns their names.

    Parameters
    ----------
    target : Path
    python : bool
        Whether to take Python itself along, which must be one that can be moved: not the system's.
    """
    names = needed()
    files = {name: path for one in names for name, path in _files(distribution(one))}
    if python:
        files |= dict(_interpreter())
    aside = target.with_name(f"{target.name}.aside")
    # The same bytes for the same packages: neither dates nor owners.
    with (
        aside.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755 if path.stat().st_mode & 0o100 else 0o644
            archive.addfile(info, BytesIO(content))
    aside.replace(target)
    return names


def _files(one: Distribution) -> Iterator[tuple[str, Path]]:
    for file in one.files or ():
        path = Path(str(one.locate_file(file)))
        if ".." not in file.parts and "__pycache__" not in file.parts and path.is_file():
            yield file.as_posix(), path


def _interpreter() -> Iterator[tuple[str, Path]]:
    base = Path(sys.base_prefix)
    library = Path(sysconfig.get_path("stdlib"))
    if base in (Path("/usr"), Path("/usr/local")):
        raise InvalidInput(
            f"The Python in {base} is the system's and cannot be taken along: have the same version on all machines, "
            "or make the virtual environment with a Python that can be moved (uv python install)."
        )
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    yield f"{PYTHON}/bin/python3", (base / "bin" / version).resolve()
    for path in library.rglob("*"):
        inside = path.relative_to(library)
        if path.is_file() and not {"site-packages", "__pycache__", "test", "idlelib", "ensurepip"} & set(inside.parts):
            yield f"{PYTHON}/lib/{version}/{inside.as_posix()}", path
    for path in (base / "lib").glob(f"lib{version}*.so*"):
        yield f"{PYTHON}/lib/{path.name}", path

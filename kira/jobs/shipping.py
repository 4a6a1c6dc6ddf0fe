"""Kira for Spark's executors: the driver's own code goes along with each job, so that nothing is installed by hand.

On every master that is not this machine alone, the package is packed into a zip, and Spark unpacks it in the working
directory of each executor, before anything else on the path of its Python. Kernels that are compiled here go along:
a new machine of the same kind need not compile them.
"""

import hashlib
import io
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kira.errors import InvalidInput
from kira.extraction import compiled
from kira.records import facts

UNPACKED = "kira-code"
"""Folder in the working directory of an executor."""
_HADOOP = "hadoop-conf"
_HADOOP_FILES = ("core-site.xml", "hdfs-site.xml")
"""What the HDFS client reads: where the NameNodes of a name service are, and how one logs in."""
_DATE = (1980, 1, 1, 0, 0, 0)


def needed(master: str) -> bool:
    """Whether executors are other processes than the driver's own, perhaps on other machines."""
    return master != "local" and not master.startswith("local[")


def ship(conf: Any) -> Any:
    """Have Spark take the code along, where it is needed.

    Parameters
    ----------
    conf : SparkConf
        Of a context that is still to be made; what it says already of archives and of Python's path stays.

    Returns
    -------
    SparkConf
        The same.
    """
    master = conf.get("spark.master", "local")
    if not needed(master):
        return conf
    mode = conf.get("spark.submit.deployMode", "client")
    if mode != "client":
        raise InvalidInput(
            f"spark.submit.deployMode={mode}: Kira's job has its driver where it is started, and brings the code to "
            "the executors itself. Leave the deploy mode to its default, client."
        )
    hadoop = [] if conf.contains(_HADOOP_CONF) else _hadoop_files()
    content = pack([*_files(), *hadoop])
    # Beside the kernels: a folder of the user's own, and a job that is killed leaves nothing that the next cannot use.
    path = compiled.folder() / f"kira-{hashlib.sha256(content).hexdigest()[:16]}.zip"
    if not path.exists():
        aside = path.with_name(f"{path.name}.{os.getpid()}.aside")
        aside.write_bytes(content)
        aside.replace(path)
    # spark-submit has put what spark.archives says into the setting of YARN's own by now.
    setting = "spark.yarn.dist.archives" if master == "yarn" else "spark.archives"
    conf.set(setting, _joined(",", conf.get(setting, ""), f"{path.as_uri()}#{UNPACKED}"))
    python_path = "spark.executorEnv.PYTHONPATH"
    if hadoop:
        conf.set(_HADOOP_CONF, f"./{UNPACKED}/{_HADOOP}")
    # As on this machine, unless something else is said: a PySpark of its own would take any python3 on the way.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return conf.set(python_path, _joined(":", f"./{UNPACKED}", conf.get(python_path, "")))


_HADOOP_CONF = "spark.executorEnv.HADOOP_CONF_DIR"


def _hadoop_files() -> list[tuple[str, Path]]:
    """Configuration of HDFS by which this process finds it, for workers on machines that have none."""
    folder = Path(os.environ.get("HADOOP_CONF_DIR") or "/nonexistent")
    return [(f"{_HADOOP}/{name}", folder / name) for name in _HADOOP_FILES if (folder / name).is_file()]


def _joined(separator: str, *parts: str) -> str:
    return separator.join(filter(None, parts))


def _files() -> Iterator[tuple[str, Path]]:
    yield from _below(facts.PACKAGE, facts.PACKAGE.name)
    for path in compiled.finished():
        yield f"{compiled.BROUGHT}/{compiled.folder().name}/{path.relative_to(compiled.folder())}", path


def _below(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{name}/{path.relative_to(folder).as_posix()}", path


def pack(files: Iterable[tuple[str, Path]]) -> bytes:
    """Pack files under names into a zip whose bytes depend on nothing but names and contents."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path in sorted(files):
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, path.read_bytes())
    return out.getvalue()


def check_same(sources: str, host: str) -> None:
    """In a worker: whether its code is that of the driver, of which `sources` is the hash.

    Raises
    ------
    InvalidInput
        If it is not.
    """
    here = facts.sources_sha256(facts.PACKAGE)
    if here != sources:
        raise InvalidInput(
            f"{host} has another Kira in {facts.PACKAGE} (sources {here[:12]}) than the driver "
            f"(sources {sources[:12]}): see what its working directory and its PYTHONPATH have before ./{UNPACKED}."
        )

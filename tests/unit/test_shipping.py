"""What a Spark job brings along for executors elsewhere, and how many cores it counts on."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pyspark import SparkConf

from kira.errors import InvalidInput
from kira.extraction import compiled
from kira.jobs import executors, shipping
from kira.jobs.executors import Asked, Cores, asked_for, wait_for
from kira.records import facts

_EXTRACT = """
import json, sys
from pathlib import Path
import kira
from kira.extraction import compiled, extract
from kira.extraction.survey_profile import SurveyProfile
from kira.extraction.trial import frames
compiled.ready()
there = sorted(p.name for p in compiled.folder().rglob("*.nb?"))
for frame in frames():
    extract(frame, SurveyProfile(engine="fast"))
new = sorted(set(p.name for p in compiled.folder().rglob("*.nb?")) - set(there))
stats = [k.stats for m in list(sys.modules.values()) if m.__name__.startswith("kira.extraction.fast")
         for k in vars(m).values() if hasattr(k, "cache_misses") or hasattr(k, "stats")]
missed = sum(sum(one.cache_misses.values()) for one in stats)
print(json.dumps([kira.__file__, str(compiled.folder()), len(there), new, len(stats), missed]))
"""


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> SparkConf:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.setenv("PYSPARK_PYTHON", "python3")
    return SparkConf(loadDefaults=False).set("spark.master", "spark://127.0.0.1:7077")


def unpacked(conf: SparkConf, setting: str = "spark.archives") -> zipfile.ZipFile:
    archive = conf.get(setting).split(",")[-1]
    assert archive.endswith("#kira-code")
    return zipfile.ZipFile(archive.removeprefix("file://").removesuffix("#kira-code"))


def test_on_this_machine_alone_nothing_is_shipped() -> None:
    for master in ("local", "local[2]", "local[*,4]"):
        conf = SparkConf(loadDefaults=False).set("spark.master", master)
        assert dict(shipping.ship(conf).getAll()) == {"spark.master": master}


def test_the_archive_is_the_package_and_the_same_for_the_same_code(conf: SparkConf, tmp_path: Path) -> None:
    archive = unpacked(shipping.ship(conf))
    archive.extractall(tmp_path)
    assert facts.sources_sha256(tmp_path / "kira") == facts.sources_sha256(facts.PACKAGE)
    assert (tmp_path / "kira/sample/columns.json").is_file()
    assert not [name for name in archive.namelist() if "__pycache__" in name]
    assert conf.get("spark.executorEnv.PYTHONPATH") == "./kira-code"
    again = SparkConf(loadDefaults=False).set("spark.master", "yarn")
    assert unpacked(shipping.ship(again), "spark.yarn.dist.archives").filename == archive.filename


def test_the_bytes_of_an_archive_depend_on_names_and_contents_alone(tmp_path: Path) -> None:
    for folder, date in (("a", 1_000_000_000), ("b", 1_700_000_000)):
        (tmp_path / folder).mkdir()
        for name in ("x", "y") if folder == "a" else ("y", "x"):
            (tmp_path / folder / name).write_text(name)
            os.utime(tmp_path / folder / name, (date, date))
    packed = [shipping.pack((n, tmp_path / folder / n) for n in names) for folder, names in (("a", "xy"), ("b", "yx"))]
    assert packed[0] == packed[1]
    assert zipfile.ZipFile(io.BytesIO(packed[0])).read("x") == b"x"


def test_what_was_set_before_stays(conf: SparkConf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hdfs-site.xml").write_text("<configuration/>")
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    conf.set("spark.archives", "hdfs://nn/env.tar.gz#environment").set("spark.executorEnv.PYTHONPATH", "./environment")
    archive = unpacked(shipping.ship(conf))
    assert conf.get("spark.archives").startswith("hdfs://nn/env.tar.gz#environment,file:///")
    assert conf.get("spark.executorEnv.PYTHONPATH") == "./kira-code:./environment"
    assert conf.get("spark.executorEnv.HADOOP_CONF_DIR") == "./kira-code/hadoop-conf"
    assert archive.read("hadoop-conf/hdfs-site.xml") == b"<configuration/>"


def test_a_driver_elsewhere_is_refused(conf: SparkConf) -> None:
    with pytest.raises(InvalidInput, match=r"^spark.submit.deployMode=cluster: Kira's job has its driver where"):
        shipping.ship(conf.set("spark.submit.deployMode", "cluster"))


def test_another_code_is_told() -> None:
    shipping.check_same(facts.sources_sha256(facts.PACKAGE), "node7")
    with pytest.raises(InvalidInput, match=r"^node7 has another Kira in .* than the driver \(sources 000000000000\)"):
        shipping.check_same("0" * 64, "node7")


def test_a_copy_elsewhere_compiles_nothing_anew(conf: SparkConf, tmp_path: Path) -> None:
    """The copy of an executor on a new machine takes the kernels that came with it; the next copy finds them."""
    compiled.ready()
    archive = unpacked(shipping.ship(conf))
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = []
    for name in ("first", "second"):
        archive.extractall(tmp_path / name)
        if name == "second":
            for path in sorted((tmp_path / name / compiled.BROUGHT).rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
        done = subprocess.run(
            [sys.executable, "-c", _EXTRACT], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
            env=clean | {"PYTHONPATH": str(tmp_path / name), "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    for name, (module, folder, kernels, new, loaded, missed) in zip(("first", "second"), found, strict=True):
        assert module == str(tmp_path / name / "kira/__init__.py")
        assert Path(folder).parent == tmp_path / "cache"
        assert kernels > 100
        assert new == []
        assert loaded > 20
        assert missed == 0


@pytest.mark.parametrize(
    ("conf", "asked"),
    [
        ({"spark.master": "spark://m:7077"}, Asked(None)),
        ({"spark.master": "spark://m:7077", "spark.cores.max": "16"}, Asked(16)),
        ({"spark.master": "yarn"}, Asked(2, executor_cores=1)),
        (
            {"spark.master": "k8s://https://m", "spark.executor.instances": "3", "spark.executor.cores": "4"},
            Asked(12, executor_cores=4),
        ),
        ({"spark.master": "local-cluster[2,3,512]"}, Asked(6)),
        (
            {
                "spark.master": "yarn", "spark.dynamicAllocation.enabled": "true", "spark.executor.instances": "2",
                "spark.dynamicAllocation.maxExecutors": "9",
            },
            Asked(None, True, 9, 1),
        ),
    ],
)  # fmt: skip
def test_what_a_configuration_asks_for(conf: dict[str, str], asked: Asked) -> None:
    assert asked_for(conf) == asked


@pytest.mark.parametrize(
    ("asked", "registered", "expected"),
    [
        (Asked(4), [(2, 0), (2, 1), (4, 2)], Cores(4, 4)),  # until those asked for are there
        (Asked(None), [(2, 0), (2, 1), (8, 2)], Cores(8, 8)),  # until no more come
        (Asked(8), [(2, 0), (4, 1)], Cores(4, 8)),  # the others may still come
        (Asked(8), [(2, 0)], Cores(1, 8)),  # none yet
        (Asked(None, True, 10, None), [(4, 1)], Cores(4, 40)),
        (Asked(None, True, None, 4), [(4, 1)], Cores(4, 100)),  # no bound but that of the frames
    ],
)
def test_waiting_for_executors(
    monkeypatch: pytest.MonkeyPatch, asked: Asked, registered: list[tuple[int, int]], expected: Cores
) -> None:
    """By a clock that goes on by a second whenever it is asked."""
    seconds = iter(range(1000))
    monkeypatch.setattr(executors.time, "monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr(executors.time, "sleep", lambda _: None)
    states = iter(registered)
    current = [registered[0]]

    def cores() -> int:
        current[0] = next(states, current[0])
        return current[0][0]

    assert wait_for(asked, cores, lambda: current[0][1], 30.0, frames=100) == expected

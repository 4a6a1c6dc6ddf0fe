"""Scenario: what the mirror and the stage move, against what the machine can."""

import bz2
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx

from benchmarks.cluster import HDFS, servers
from benchmarks.frames import DR12
from benchmarks.scenario import PROFILES, Bars, Result, Scenario, Setting, Table
from benchmarks.timing import Spread, alternate
from kira.ledger import Ledger
from kira.sdss import Selection
from kira.sdss.archive import Archive, ArchiveClient
from kira.stack.config import BUCKET
from kira.stack.local import LocalStack
from kira.stages.mirror import mirror
from kira.stages.plan import plan
from kira.stages.staging import stage
from kira.stages.work import Attempt, Services, workers
from kira.storage import Manifest, S3Mirror, open_store

CONNECTIONS = 4
"""Of a mirror task to the archive, unless KIRA_ARCHIVE_CONNECTIONS says otherwise."""
_DISK_BYTES = 512 * 2**20
_OTHER_NAME = 1000


class Wire(Scenario):
    """Bytes a second."""

    name = "wire"
    title = "The wire: mirror and stage, against the machine's own limits"
    expectation = """
    The mirror is bound by decompression: bz2 gives some 10 MB/s of compressed bytes a core, loopback HTTP and the disk
    a hundred times that. It should reach 80 % of bz2 on all cores, for the same cores also run the archive's server and
    the S3 server. The stage writes each plain frame to two DataNodes and reads it back: a third of what the disk takes,
    or less.
    """

    def run(self, setting: Setting, result: Result) -> None:
        """Limits and stages in alternation."""
        with (
            tempfile.TemporaryDirectory(dir=setting.folder) as name,
            servers(HDFS | {"s3", "archive"}, setting.say, setting.cores) as stack,
        ):
            folder = Path(name)
            setting.say(f"writing {setting.sizes.wire} compressed frames")
            paths = setting.frames.archive(setting.sizes.wire, DR12, folder / "archive")
            packed = sum(path.stat().st_size for path in paths)
            plain = sum(len(bz2.decompress(path.read_bytes())) for path in paths)
            base = stack.serve_archive("wire", folder / "archive")
            stages = _Stages(stack, folder, base)
            urls = [f"{base}/{path.relative_to(folder / 'archive')}" for path in paths]

            calls: dict[str, Callable[[int], float]] = {
                "limit: loopback HTTP": lambda _: packed / 1e6 / _timed(partial(_fetch, urls)),
                "limit: disk, written and synced": lambda _: _DISK_BYTES / 1e6 / _timed(partial(_write, folder)),
                "limit: bz2, one core": lambda _: packed / 1e6 / _timed(partial(_unpack, paths, 1)),
                f"limit: bz2, {setting.cores} cores": lambda _: packed / 1e6 / _timed(
                    partial(_unpack, paths, setting.cores)
                ),
                "mirror": lambda number: packed / 1e6 / stages.mirror(number),
                "stage": lambda number: plain / 1e6 / stages.stage(number),
            }  # fmt: skip
            rates = alternate(
                calls, setting.long_repeats, lambda what, _, rate: setting.say(f"  {what}: {rate:.1f} MB/s")
            )
        self._say(setting, result, rates, packed, plain)

    def _say(self, setting: Setting, result: Result, rates: dict[str, list[float]], packed: int, plain: int) -> None:
        spreads = {name: Spread.of(values) for name, values in rates.items()}
        table = Table(
            f"{setting.sizes.wire} frames, {packed / 1e6:.0f} MB compressed, {plain / 1e6:.0f} MB plain",
            ["what", "MB/s", "bytes that are counted", "of its limit"],
        )
        unpacking = spreads[f"limit: bz2, {setting.cores} cores"].median
        disk = spreads["limit: disk, written and synced"].median
        for name, spread in spreads.items():
            counted = "plain" if name == "stage" or "disk" in name else "compressed"
            share = {"mirror": spread.median / unpacking, "stage": spread.median / disk}.get(name)
            table.rows.append([name, spread.text(), counted, f"{share:.0%}" if share is not None else ""])
            result.runs.append({"what": name, "mb_per_s": rates[name]})
        result.tables.append(table)
        result.notes.append(
            "The limit of the mirror is bz2 on all cores, that of the stage the disk. The mirror also writes the plain "
            "bytes to HDFS, for the stage to take over; the stage reads them back and renames."
        )
        result.plots.append(
            Bars("wire", "Bytes", "MB/s", {name: [one.median, one.least, one.most] for name, one in spreads.items()})
        )


class _Stages:
    """The stages' own functions on real servers, each round with an archive of its own name."""

    def __init__(self, stack: LocalStack, folder: Path, base: str) -> None:
        self._stack, self._folder, self._base = stack, folder, base
        self._ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        self._mirrored: dict[int, tuple[Services, Manifest]] = {}

    def mirror(self, number: int) -> float:
        """Plan, which is not counted, and mirror; returns seconds."""
        services = self._services(number)
        with ArchiveClient(services.archive, connections=CONNECTIONS) as client:
            planned = plan(
                services,
                Attempt(f"wire-{number}"),
                client,
                Selection.parse(str(DR12)),
                PROFILES["kira"](),
                batch_size=5000,
            )
            (uri,) = planned.batches
            manifest = Manifest.load(services.store, uri)
            began = time.monotonic()
            after = mirror(services, self._attempt(number), client, manifest, threads=max(CONNECTIONS, workers()))
            seconds = time.monotonic() - began
        self._mirrored[number] = services, after
        return seconds

    def stage(self, number: int) -> float:
        """Stage what this round has mirrored; where its turn comes first, others are mirrored for it."""
        if number not in self._mirrored:
            number += _OTHER_NAME
            self.mirror(number)
        services, manifest = self._mirrored[number]
        began = time.monotonic()
        after = stage(services, self._attempt(number), manifest, threads=workers())
        seconds = time.monotonic() - began
        if len(after.entries) != len(manifest.entries):
            raise RuntimeError(f"only {len(after.entries)} of {len(manifest.entries)} frames were staged")
        services.store.delete(services.archive.name)  # the disk has no room for every round
        return seconds

    def _services(self, number: int) -> Services:
        archive = Archive(f"wire{number}", das=f"{self._base}/das", sas=f"{self._base}/sas")
        bucket = S3Mirror(self._stack.s3_client(), BUCKET)
        return Services(archive, bucket, open_store(self._stack.config.stage_url), self._ledger)

    def _attempt(self, number: int) -> Attempt:
        return Attempt(f"wire-{number}")


def _timed(call: Callable[[], None]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def _fetch(urls: list[str]) -> None:
    with httpx.Client(timeout=60, trust_env=False) as client, ThreadPoolExecutor(CONNECTIONS) as pool:
        for answer in pool.map(client.get, urls):
            answer.raise_for_status()


def _write(folder: Path) -> None:
    block, path = os.urandom(2**20), folder / "disk"
    with path.open("wb") as file:
        for _ in range(_DISK_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def _unpack(paths: list[Path], threads: int) -> None:
    def one(path: Path) -> int:
        return len(bz2.decompress(path.read_bytes()))

    with ThreadPoolExecutor(threads) as pool:  # bz2 lets go of the interpreter's lock
        list(pool.map(one, paths))

"""State of the systems that ingestion needs: S3, HDFS or the file system, Spark, and the archive.

Each is asked in a thread of its own and fails alone. How Airflow itself is, is on Airflow's first page.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from time import monotonic
from typing import Any

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from kira.errors import ArchiveUnavailable, KiraError, NotInArchive
from kira.ledger.status import Known, catalogues
from kira.pages.data import Data, Remembered
from kira.pages.html import number, page, size
from kira.pages.watching import Watched
from kira.sdss import Release
from kira.sdss.archive import Archive
from kira.sdss.fetcher import Fetcher
from kira.sdss.quoting import one_line
from kira.storage.stores import PosixStore

router = APIRouter()

SECONDS = 15.0
"""A server is asked anew after so long, however many people look …"""
ARCHIVE_SECONDS = 60.0
"""… and one of somebody else after so long."""
WAIT = 2.0
"""Seconds that a server has to answer."""
MOST_ARCHIVES = 4
LOW = 0.1
"""Less room than this part of all is worth a look."""


@dataclass(frozen=True)
class System:
    """A system as the page shows it.

    Parameters
    ----------
    name : str
    grade : {"good", "waiting", "bad"}
        How it is coloured.
    word : str
        The same as a word.
    sentence : str
        What is the matter, or how it is.
    figures : tuple of (str, str)
        Names and values.
    """

    name: str
    grade: str
    word: str
    sentence: str
    figures: tuple[tuple[str, str], ...] = ()


def up(name: str, sentence: str, *figures: tuple[str, str]) -> System:
    """A system that answers."""
    return System(name, "good", "up", sentence, figures)


def look(name: str, sentence: str, *figures: tuple[str, str]) -> System:
    """A system that answers, and that somebody should look at; or one that nothing is known of."""
    return System(name, "waiting", "look", sentence, figures)


def down(name: str, sentence: str, *figures: tuple[str, str]) -> System:
    """A system that does not do its work."""
    return System(name, "bad", "down", sentence, figures)


def s3(data: Data) -> list[System]:
    """Whether the mirror's bucket is there."""
    bucket = data.settings.bucket
    if data.s3_client is None:
        return [look("S3", "No client is at hand to ask it.")]
    try:
        data.s3_client().head_bucket(Bucket=bucket)
    except ClientError as error:
        code = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        why = {404: f"it has no bucket {bucket}", 403: f"it refuses the bucket {bucket}: check the login of kira_s3"}
        return [down("S3", f"It answers, but {why.get(code or 0, f'with HTTP status {code}')}.")]
    except BotoCoreError as error:
        return [down("S3", f"It does not answer: {one_line(str(error))}")]
    return [up("S3", f"It answers, and the bucket {bucket} is there.")]


def storage(data: Data) -> list[System]:
    """HDFS by its NameNode's own figures, or the room of a file system."""
    store = data.store
    if isinstance(store, PosixStore):
        return [_file_system(store)]
    if not data.settings.hdfs_ui:
        return [look("HDFS", "KIRA_HDFS_UI is not set: it names the NameNode's page, such as http://namenode:9870.")]
    name_system = _bean(data.settings.hdfs_ui, "FSNamesystem")
    info = _bean(data.settings.hdfs_ui, "NameNodeInfo")
    return [hdfs(name_system, info)]


def hdfs(name_system: dict[str, Any], info: dict[str, Any]) -> System:
    """What two beans of a NameNode's JMX say.

    Parameters
    ----------
    name_system, info : dict
        `FSNamesystem` and `NameNodeInfo` of `Hadoop:service=NameNode`.
    """
    total, left = int(name_system["CapacityTotal"]), int(name_system["CapacityRemaining"])
    live, dead = int(name_system["NumLiveDataNodes"]), int(name_system["NumDeadDataNodes"])
    missing = int(name_system["MissingBlocks"])
    safe_mode = bool(info["Safemode"])
    figures = (
        ("DataNodes", f"{number(live)} live, {number(dead)} dead"),
        ("Capacity", f"{size(total)}, of which {size(int(name_system['CapacityUsed']))} are used by HDFS"),
        ("Room", size(left)),
        ("Blocks", f"{number(int(name_system['BlocksTotal']))}, {number(missing)} missing"),
        ("Hadoop", str(info.get("SoftwareVersion", info.get("Version", "unknown")))),
    )
    if not live:
        return down("HDFS", "No DataNode is live: nothing can be read or written.", *figures)
    if missing:
        return down(
            "HDFS", f"Missing blocks: {number(missing)}. The files that they belong to cannot be read.", *figures
        )
    if safe_mode:
        return down("HDFS", "The NameNode is in safe mode: nothing can be written.", *figures)
    if dead:
        return look("HDFS", f"Dead DataNodes: {number(dead)}.", *figures)
    if left < LOW * total:
        return look("HDFS", f"Less than {LOW:.0%} of its capacity is left.", *figures)
    return up("HDFS", "All DataNodes are live, and no block is missing.", *figures)


def _file_system(store: PosixStore) -> System:
    name = "Staging folder"
    root = store.root
    # The folder itself is made by the first file that is staged.
    while not root.exists() and root != root.parent:
        root = root.parent
    try:
        room = shutil.disk_usage(root)
    except OSError as error:
        return down(name, f"{store.url} cannot be asked: {error.strerror or error}.")
    figures = (("Room", f"{size(room.free)} of {size(room.total)}"), ("Folder", store.url))
    if room.free < LOW * room.total:
        return look(name, f"Less than {LOW:.0%} of its file system is left.", *figures)
    return up(name, "It can be reached.", *figures)


def _bean(ui: str, name: str) -> dict[str, Any]:
    answer = _get(f"{ui}/jmx", qry=f"Hadoop:service=NameNode,name={name}")
    try:
        bean: dict[str, Any] = answer.json()["beans"][0]
    except (ValueError, LookupError, TypeError) as error:
        raise httpx.DecodingError(f"{ui}/jmx knows no {name}: is it a NameNode's page?") from error
    return bean


@cache
def _client() -> httpx.Client:
    # One for all: to read the certificates takes longer than most servers. No proxy: these are in one's own network.
    return httpx.Client(trust_env=False)


def _get(url: str, **query: str) -> httpx.Response:
    answer = _client().get(url, params=query, timeout=WAIT)
    answer.raise_for_status()
    return answer


def spark(data: Data) -> list[System]:
    """A Spark master or history server; where none is named Spark comes and goes with each batch."""
    ui = data.settings.spark_ui
    if not ui:
        return [up("Spark", "It starts with each batch: KIRA_SPARK_UI names no master and no history server.")]
    try:
        found = _get(f"{ui}/json/").json()
    except (ValueError, httpx.HTTPStatusError):
        # No master's page; a history server and a driver say their version.
        version = str(_get(f"{ui}/api/v1/version").json()["spark"])
        return [up("Spark", "Its history server answers.", ("Version", version))]
    return [spark_master(found)]


def spark_master(found: dict[str, Any]) -> System:
    """What a standalone master says of itself.

    Parameters
    ----------
    found : dict
        Of its page `/json/`; memory in MB.
    """
    workers, applications = int(found["aliveworkers"]), len(found.get("activeapps", ()))
    figures = (
        ("Workers", f"{number(workers)} alive"),
        ("Cores", f"{number(int(found['coresused']))} of {number(int(found['cores']))} in use"),
        ("Memory", f"{size(1e6 * found['memoryused'])} of {size(1e6 * found['memory'])} in use"),
        ("Applications", f"{number(applications)} at work"),
    )
    if found.get("status") != "ALIVE":
        return look("Spark", f"Its master is {str(found.get('status', 'unknown')).lower()}.", *figures)
    if not workers:
        return down("Spark", "No worker is alive: batches wait.", *figures)
    return up("Spark", "Its master and workers are alive.", *figures)


def archives(data: Data) -> list[System]:
    """Whether the archives of the catalogues answer."""
    if data.archives is None:
        return [look("Archive", "Nobody said which it is.")]
    known, found = catalogues(data.ledger), data.archives()
    in_use = {one.archive for one in known}
    mine = [one for one in found if one.name in in_use] or list(found)
    if not mine:
        return [look("Archive", "There is no Airflow connection of an archive.")]
    return [_archive(one, known) for one in mine[:MOST_ARCHIVES]]


def _archive(archive: Archive, known: Sequence[Known]) -> System:
    name = f"Archive {archive.name}"
    bases = sorted({archive.base(Release.parse(one.release)) for one in known if one.archive == archive.name})
    bases = bases or [archive.sas]
    fetcher = Fetcher(
        connections=1, timeout=WAIT, deadline=WAIT, tries=1, backoff=0.0, longest_wait=0.0, max_bytes=1_000_000
    )
    try:
        for base in bases:
            fetcher.head(f"{base}/")
    except NotInArchive:
        return look(name, f"It answers, but there is nothing at {base}/.")
    except ArchiveUnavailable as error:
        return down(name, f"{base}/ does not answer as it should: {one_line(str(error.__cause__ or error))}.")
    finally:
        fetcher.close()
    return up(name, "It answers.", ("Address", ", ".join(bases)))


_CHECKS: tuple[tuple[str, Callable[[Data], list[System]], float], ...] = (
    ("S3", s3, SECONDS), ("Staging store", storage, SECONDS), ("Spark", spark, SECONDS),
    ("Archive", archives, ARCHIVE_SECONDS),
)  # fmt: skip


def _watch(data: Data) -> list[tuple[str, Watched[list[System]]]]:
    def watched(check: Callable[[Data], list[System]], seconds: float) -> Watched[list[System]]:
        return Watched(lambda: check(data), seconds, WAIT)

    return [(name, watched(check, seconds)) for name, check, seconds in _CHECKS]


def systems(data: Data) -> list[System]:
    """All systems, in the order in which frames meet them; asked at once, so that all together take `WAIT` at most."""
    if "systems" not in data.remembered:
        data.remembered["systems"] = Remembered(lambda: _watch(data), float("inf"))
    watch: list[tuple[str, Watched[list[System]]]] = data.remembered["systems"]()
    for _, asked in watch:
        asked.begin()
    until = monotonic() + WAIT
    return [one for name, asked in watch for one in _answer(name, asked, until)]


def _answer(name: str, asked: Watched[list[System]], until: float) -> list[System]:
    try:
        return asked(max(0.0, until - monotonic()))
    except TimeoutError:
        return [down(name, f"It did not answer within {WAIT:g} s.")]
    except KiraError as error:
        return [down(name, str(error))]
    except httpx.HTTPStatusError as error:
        url = error.request.url
        return [
            down(name, f"{url.scheme}://{url.netloc.decode()}{url.path} answers with {error.response.status_code}.")
        ]
    except httpx.HTTPError as error:
        return [down(name, f"It does not answer: {one_line(str(error)) or type(error).__name__}.")]
    except Exception as error:  # noqa: BLE001 - a check that breaks must not take the others with it; it is shown
        return [down(name, f"It could not be asked: {type(error).__name__}: {one_line(str(error))}")]


@router.get("/systems", response_class=HTMLResponse)
def show(request: Request) -> HTMLResponse:
    """Part of the overview, loaded after it."""
    return page(request, "systems.html", systems=systems(request.app.state.data))

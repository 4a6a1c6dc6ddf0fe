"""Which archive `ARCHIVE=…` means, and what of it is ingested when nothing more is said."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kira.errors import InvalidInput, KiraError
from kira.sdss import ALL_RELEASES, Release, Service
from kira.sdss.archive import SDSS, Archive, ArchiveClient
from kira.sdss.quoting import one_line
from kira.sdss.urls import checked_url
from kira.stack.local import LocalStack

# The real archive holds 17 TB; somebody who says no more than ARCHIVE=sdss gets a few well-known frames.
SDSS_DEFAULTS = {"release": "dr12", "runs": "94", "camcols": "1", "fields": "11-13"}

# DAS keeps DR1 to DR7 in one tree: whatever is in it counts as its last release.
_WITH_A_TREE = tuple(release for release in ALL_RELEASES if release.service is Service.SAS or release.number == 7)


@dataclass(frozen=True)
class Source:
    """An archive, ready to be ingested from.

    Parameters
    ----------
    archive : Archive
    releases : tuple of Release
        What it holds, if that is known or could be found out.
    folder : Path or None
        Where its files are, if the local stack serves them.
    """

    archive: Archive
    releases: tuple[Release, ...]
    folder: Path | None = None

    @property
    def synthetic(self) -> bool:
        """Whether it is a sample archive that Kira made."""
        return self.folder is not None and (self.folder / "sample.json").exists()

    @property
    def connection_id(self) -> str:
        """Airflow connection that stands for it."""
        return f"kira_archive_{self.archive.name}"

    @property
    def connection(self) -> dict[str, Any]:
        """The connection, as Airflow's REST API takes it."""
        bases = asdict(self.archive)
        return {"connection_id": self.connection_id, "conn_type": "http", "extra": json.dumps(bases)}


def find_source(text: str, sample: Path, stack: LocalStack) -> Source:
    """Understand `sample`, `sdss`, a folder, or a URL.

    Raises
    ------
    InvalidInput
        If it is none of these, or there is nothing laid out like the archive.
    """
    if text == "sample":
        return _served("sample", sample, stack)
    if text == "sdss":
        return Source(SDSS, (Release.parse(SDSS_DEFAULTS["release"]),))
    if _is_url(text):
        archive = _archive_at(text)
        return Source(archive, _releases_at(archive))
    folder = _folder(text).resolve()
    return _served(_name(str(folder)), folder, stack)


def local_folder(text: str, sample: Path) -> tuple[str, Path] | None:
    """Name and folder of an archive that is on this machine, InvalidInput if it is not; None for `sdss` and URLs."""
    if text == "sdss" or _is_url(text):
        return None
    if text == "sample":
        return "sample", sample
    check_archive(text)
    folder = _folder(text).resolve()
    return _name(str(folder)), folder


def served_archive(text: str) -> Archive:
    """Archive that is served by somebody else: `sdss`, or a URL; InvalidInput for anything else."""
    if text == "sdss":
        return SDSS
    if _is_url(text):
        return _archive_at(text)
    raise InvalidInput(
        f"--archive {one_line(text)}: to fetch from, an archive is sdss, or a URL with das/ or sas/ below."
    )


def check_archive(text: str) -> None:
    """Refuse what is no archive, before anything is started for it; InvalidInput with a sentence."""
    if text in ("sample", "sdss"):
        return
    if _is_url(text):
        _archive_at(text)
        return
    folder = _folder(text)
    try:
        is_folder = folder.is_dir()
    except OSError:  # a name that is too long for the file system
        is_folder = False
    if not is_folder:
        raise InvalidInput(f"ARCHIVE={one_line(text)}: there is no such folder; use a folder, a URL, sample, or sdss.")
    if not releases_in(folder):
        raise InvalidInput(
            f"ARCHIVE={one_line(text)}: neither das/imaging nor sas/dr8 to sas/dr18 is there; the folder must be "
            "laid out like the SDSS archive."
        )


def _folder(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InvalidInput(f"ARCHIVE={one_line(text)}: {one_line(str(error))}") from error


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _archive_at(url: str) -> Archive:
    if url.endswith("://"):
        raise InvalidInput(f"ARCHIVE={url}: there is no host in this address.")
    checked_url(url, "ARCHIVE")  # before it gets a name, which would repeat a password
    return Archive(_name(url.rstrip("/")), das=f"{url.rstrip('/')}/das", sas=f"{url.rstrip('/')}/sas")


def _served(name: str, folder: Path, stack: LocalStack) -> Source:
    base = stack.serve_archive(name, folder)
    truth = f"{base}/truth" if (folder / "truth").is_dir() else ""
    return Source(Archive(name, das=f"{base}/das", sas=f"{base}/sas", truth=truth), releases_in(folder), folder)


def releases_in(folder: Path) -> tuple[Release, ...]:
    """Releases that a folder has frames of."""
    return tuple(release for release in _WITH_A_TREE if (folder / str(release.service) / release.frames_root).is_dir())


def _releases_at(archive: Archive) -> tuple[Release, ...]:
    with ArchiveClient(archive) as client:
        return tuple(release for release in _WITH_A_TREE if client.has_release(release))


def _name(text: str) -> str:
    """A name for an archive that is the same for the same place, and different for another."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower().rstrip("/").rpartition("/")[2]).strip("-")[:24]
    return f"{plain or 'archive'}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def choose_releases(source: Source, wanted: tuple[Release, ...]) -> Source:
    """Keep the releases asked for, or all that were found."""
    if not wanted and not source.releases:
        raise KiraError(f"No release was found at {source.archive.sas} or {source.archive.das}: say RELEASE=dr12.")
    return replace(source, releases=wanted or source.releases)

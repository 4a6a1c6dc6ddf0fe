"""Where a frame of an archive is kept: its S3 key, and its path on the staging store."""

from kira.sdss import FrameId
from kira.sdss.archive import Archive
from kira.sdss.identifiers import frames_folder
from kira.sdss.releases import Release


def mirror_key(archive: Archive, frame: FrameId) -> str:
    """S3 key of the file as the archive serves it, under the archive's own path."""
    return f"{archive.name}/{frame.release.service}/{frame.archive_path}"


def mirror_folder(archive: Archive, release: Release, run: int, rerun: int, camcol: int) -> str:
    """Prefix of the S3 keys of the frames of one camera column of one run."""
    return f"{archive.name}/{release.service}/{frames_folder(release, run, rerun, camcol)}/"


def staged_path(archive: Archive, frame: FrameId) -> str:
    """Path of the staged frame below the staging root."""
    return f"{archive.name}/frames/{frame.staged_path}"

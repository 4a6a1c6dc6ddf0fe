"""A survey's worth of frames: their number and their names are real, there are no pixels."""

from collections.abc import Iterator
from pathlib import Path

from kira.sdss import Selection
from kira.sdss.listing import ExpectedFolder
from kira.sdss.runlist import ImagingRun, folders_from_run_list, read_run_list


class RunListArchive:
    """Answers like the archive's client, from the run list that SDSS published with DR10; holds no frame."""

    def __init__(self, run_list: Path) -> None:
        self.runs: tuple[ImagingRun, ...] = read_run_list(run_list.read_text())

    def folders_from_run_list(self, selection: Selection) -> Iterator[ExpectedFolder]:
        return folders_from_run_list(self.runs, selection)

    def fields_in_sky(self, _selection: Selection) -> None:
        return None


class EmptyMirror:
    """An S3 bucket in which there is nothing."""

    bucket = "empty"

    def listing(self, _prefix: str) -> dict[str, int]:
        return {}

"""What a DAG run is asked for: the fields of the trigger form, or of the standing selection of scheduled runs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from kira.errors import InvalidInput
from kira.sdss import Selection

STANDING = "kira_ingest"
"""Airflow Variable with the standing selection, as JSON."""
ARCHIVE_CONNECTION = "kira_archive"
FIELD_LISTS = ("index pages", "run list")
PROFILES = ("survey", "kira")
"""Extraction profiles that come with Kira, the default first; `kira.extraction` is too heavy to be asked for them where
DAG files are read."""
MAX_BATCHES = 1000
"""Airflow maps a task at most 1,024 times, and its scheduler suffers before it is slow."""
MAX_BATCH_SIZE = 5000


@dataclass(frozen=True)
class Request:
    """A selection of frames, and how they are to be planned.

    Parameters
    ----------
    archive : str
        Airflow connection of the archive.
    release, runs, camcols, fields, bands, sky : str
        As in `kira.sdss.Selection.parse`.
    batch_size : int
        Most frames in a batch; 0 leaves it to the plan.
    max_batches : int
        Most batches in one DAG run; what is left is for the next.
    field_list : str
        Whether the archive's index pages say what exists, or its run list.
    again : bool
        Also frames that failed for good before.
    profile : str
        Extraction profile.
    """

    archive: str = ARCHIVE_CONNECTION
    release: str = "dr12"
    runs: str = ""
    camcols: str = ""
    fields: str = ""
    bands: str = "ugriz"
    sky: str = ""
    batch_size: int = 0
    max_batches: int = 100
    field_list: str = FIELD_LISTS[0]
    again: bool = False
    profile: str = PROFILES[0]

    def __post_init__(self) -> None:
        if not 0 <= self.batch_size <= MAX_BATCH_SIZE:
            raise InvalidInput(f"batch_size: {self.batch_size} is not a number from 0 to {MAX_BATCH_SIZE:,}.")
        if not 1 <= self.max_batches <= MAX_BATCHES:
            raise InvalidInput(f"max_batches: {self.max_batches} is not a number from 1 to {MAX_BATCHES:,}.")
        if self.field_list not in FIELD_LISTS:
            raise InvalidInput(f"field_list: {self.field_list!r} is neither 'index pages' nor 'run list'.")
        if self.profile not in PROFILES:
            raise InvalidInput(f"profile: {self.profile!r} is neither {' nor '.join(PROFILES)}.")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "Request":
        """Take what is known of a form's parameters or of the standing selection; empty fields count as left out.

        Raises
        ------
        InvalidInput
            If a value is not of its kind.
        """
        given: dict[str, Any] = {}
        for field in fields(cls):
            value = values.get(field.name)
            if value is None or value == "":
                continue
            wanted = type(field.default)
            if type(value) is not wanted:
                raise InvalidInput(f"{field.name}: {value!r} is not of the kind of {field.default!r}.")
            given[field.name] = value
        return cls(**given)

    @classmethod
    def standing(cls, value: Any) -> "Request":
        """Read the standing selection of scheduled runs, as the Variable's JSON has it.

        Raises
        ------
        InvalidInput
            If it is nonsense.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(value, dict) or set(value) - known or "release" not in value:
            raise InvalidInput(
                f"The Airflow Variable {STANDING} must be a JSON object with a release, and may have "
                f"{', '.join(sorted(known - {'release'}))}: set it with kira schedule set."
            )
        request = cls.from_mapping(value)
        request.selection()
        return request

    def selection(self) -> Selection:
        """Frames that are asked for; InvalidInput if a field is nonsense."""
        return Selection.parse(self.release, self.runs, self.camcols, self.fields, self.bands, self.sky)

    def as_dict(self) -> dict[str, Any]:
        """All fields, as JSON takes them."""
        return asdict(self)

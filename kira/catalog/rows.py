"""Sources of one frame as rows of the catalogue: of kind `kira` here, of kind `survey` in `kira.catalog.survey`."""

import numpy as np
import pyarrow as pa

from kira.catalog.schema import KEY, SCHEMA
from kira.catalog.survey import LOCAL, survey_table
from kira.errors import InvalidInput
from kira.extraction import Extraction, Profile, SurveyProfile
from kira.frames import Frame
from kira.sdss import FrameId
from kira.sdss.identifiers import frame_columns


def source_table(frame: Frame, extraction: Extraction, profile: Profile, *, run_id: str = LOCAL) -> pa.Table:
    """Rows of the catalogue for one frame, with the columns of its profile's kind.

    Parameters
    ----------
    frame : Frame
    extraction : Extraction
    profile : Profile
        By which it was made.
    run_id : str
        Airflow's DAG run; only kind `survey` has a column for it.

    Raises
    ------
    InvalidInput
        If the kind has no rows for images that are not from SDSS.
    """
    if isinstance(profile, SurveyProfile):
        return survey_table(frame, extraction, profile, run_id=run_id)
    if frame.id is None:
        raise InvalidInput(
            f"The profile {profile.name} has columns for SDSS frames only: take a survey profile for other images."
        )
    return to_table(frame.id, extraction)


def to_table(frame_id: FrameId, extraction: Extraction) -> pa.Table:
    """Return the sources of a frame with exactly the columns of `SCHEMA`.

    Parameters
    ----------
    frame_id : FrameId
    extraction : Extraction

    Returns
    -------
    pyarrow.Table
        `extraction.n_sources` rows, `number` counting from 0.
    """
    n = extraction.n_sources
    identity = frame_columns(frame_id)
    columns = [
        pa.repeat(pa.scalar(identity[field.name], field.type), n)
        if field.name in identity
        else pa.array(np.arange(n), field.type)
        if field.name == KEY[-1]
        # A copy, for pyarrow wants each column in one piece; `safe` refuses a number that does not fit its type.
        else pa.array(np.ascontiguousarray(extraction.table[field.name])).cast(field.type, safe=True)
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)

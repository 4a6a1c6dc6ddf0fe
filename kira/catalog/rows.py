"""Sources of one frame as rows of the catalogue."""

import numpy as np
import pyarrow as pa

from kira.catalog.schema import KEY, SCHEMA
from kira.extraction import Extraction
from kira.sdss import FrameId
from kira.sdss.identifiers import frame_columns


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

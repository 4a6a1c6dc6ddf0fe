"""The kinds of catalogue: which schema a table or a file has."""

import pyarrow as pa

from kira.catalog import schema as kira
from kira.catalog import survey
from kira.errors import InvalidInput

RUN_ID = "run_id"
"""The column that differs between two runs that measured the same."""


def is_survey(schema: pa.Schema) -> bool:
    """Whether a schema says that it is of kind `survey`."""
    return bool((schema.metadata or {}).get(b"kira_schema") == survey.VERSION.encode())


def schema_like(found: pa.Schema) -> pa.Schema:
    """Schema of the catalogue that a table is of, with its units and descriptions.

    Parameters
    ----------
    found : pyarrow.Schema
        Of the table; its metadata say the version, and without any it is taken for kind `kira`.

    Raises
    ------
    InvalidInput
        If the columns are not those of any kind of catalogue.
    """
    expected = expected_schema(found)
    if not found.equals(expected, check_metadata=False):
        raise InvalidInput("The table does not have the columns of the catalogue.")
    if not is_survey(found):
        return expected
    # Radii and the unit of fluxes are the file's own; what else it says is its own too, and not the schema's.
    own = {name: found.metadata[name] for name in expected.metadata if name in found.metadata}
    return found.with_metadata({**expected.metadata, **own})


def expected_schema(found: pa.Schema) -> pa.Schema:
    """Schema that a table should have, by what it says of itself: kind, and number of apertures."""
    if not is_survey(found):
        return kira.SCHEMA
    apertures = sum(name.startswith("flux_aper_") for name in found.names)
    return survey.survey_schema(tuple(float(i + 1) for i in range(apertures)))

"""The list of all frames that SDSS has."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def run_list(shared_sdss: Path) -> Path:
    """The run list of DR10: 938,046 fields, 4,690,230 frames."""
    return shared_sdss / "lists" / "runList-dr10.par"

"""Fixtures of the unit tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_servers import ArchiveServer, RudeServer, misbehaving, serving


@pytest.fixture(scope="session")
def shared_sdss() -> Path:
    """Folder of real SDSS data, laid out like the archives."""
    root = Path(os.environ.get("KIRA_SHARED", Path(__file__).parents[3] / "shared"))
    if not (root / "sdss" / "sas").is_dir():
        reason = f"THE REAL SDSS DATA ARE NOT THERE ({root}/sdss): set KIRA_SHARED. What they prove is NOT proven."
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return root / "sdss"


@pytest.fixture(scope="session")
def archive_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveServer]:
    with serving(tmp_path_factory.mktemp("archive") / "registry.json") as server:
        yield server


@pytest.fixture
def rude() -> Iterator[RudeServer]:
    with misbehaving() as server:
        yield server

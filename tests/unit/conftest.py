"""Fixtures of the unit tests."""

from collections.abc import Iterator

import pytest
from http_servers import ArchiveServer, RudeServer, misbehaving, serving


@pytest.fixture(scope="session")
def archive_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveServer]:
    with serving(tmp_path_factory.mktemp("archive") / "registry.json") as server:
        yield server


@pytest.fixture
def rude() -> Iterator[RudeServer]:
    with misbehaving() as server:
        yield server

"""Where compiled kernels are kept: in a folder that nobody else can put code into."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kira.extraction import compiled


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    kept = compiled.folder
    compiled.folder.cache_clear()
    yield
    kept.cache_clear()


def test_the_folder_is_the_users_own_and_the_same_for_all_processes(tmp_path: Path) -> None:
    found = compiled.folder()
    assert found.parent == tmp_path / "kept"
    assert found.stat().st_mode & 0o777 == 0o700
    compiled.folder.cache_clear()
    assert compiled.folder() == found


def test_a_folder_of_others_is_not_taken(tmp_path: Path) -> None:
    name = compiled.folder().name
    compiled.folder.cache_clear()
    (tmp_path / "kept" / name).chmod(0o777)
    found = compiled.folder()
    assert found.parent.parent == tmp_path / "temporary"
    assert found.stat().st_mode & 0o777 == 0o700
    compiled.folder.cache_clear()
    found.rmdir()
    found.symlink_to(tmp_path)
    alone = compiled.folder()
    assert alone.parent == tmp_path / "temporary"
    assert alone.name.startswith("kira-kernels-")


def test_where_nothing_can_be_made_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert compiled.folder().parent.parent == tmp_path / "temporary"
    assert "cannot be kept in" in caplog.text

"""The server that holds Airflow's own database: made once, closed to strangers, and back after a crash."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from kira.errors import StackError
from kira.stack import airflow_server, postgresql
from kira.stack.airflow_server import environment
from kira.stack.config import Secrets, StackConfig
from kira.stack.local import LocalStack
from kira.stack.postgresql import Cluster
from kira.stack.supervision import Supervisor

PASSWORD = "with a / and an @"  # noqa: S105  (of a server that lives for one test)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="kira pg ") as folder:
        made = Cluster(Path(folder) / "data", Path(folder))
        assert made.make(PASSWORD)
        yield made


def ask(cluster: Cluster, question: str, password: str = PASSWORD) -> object:
    engine = create_engine(cluster.url(password))
    try:
        with engine.begin() as connection:
            result = connection.execute(text(question))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


def test_what_was_written_is_there_after_a_crash(cluster: Cluster) -> None:
    cluster.start()
    ask(cluster, "CREATE TABLE kept AS SELECT 7 AS number")
    cluster.stop("immediate")
    assert not cluster.make("another password")
    with cluster.running():
        assert ask(cluster, "SELECT number FROM kept") == 7


def test_one_whose_starter_was_killed_is_swept() -> None:
    """While Airflow's tables are made nobody supervises it; left running, it would refuse the next start."""
    with tempfile.TemporaryDirectory(prefix="kira-pg-") as folder:
        config = StackConfig(Path(folder))
        cluster = postgresql.of_stack(config)
        cluster.make(config.secrets.database_password)
        cluster.start(environment(config))
        assert Supervisor(config).sweep()
        with cluster.running(environment(config)):
            assert ask(cluster, "SELECT 1", config.secrets.database_password) == 1
        assert not Supervisor(config).sweep()


def test_nobody_gets_in_without_the_password(cluster: Cluster) -> None:
    with cluster.running():
        with pytest.raises(OperationalError, match="password authentication failed"):
            ask(cluster, "SELECT 1", "guessed")
        assert ask(cluster, "SHOW listen_addresses") == ""
        assert cluster.folder.stat().st_mode & 0o077 == 0


def test_a_password_that_was_made_anew_is_taken_over(cluster: Cluster) -> None:
    new = "'; DROP TABLE kept; -- \\' and ü"
    cluster.start()
    ask(cluster, "CREATE TABLE kept AS SELECT 7 AS number")
    cluster.stop("immediate")
    cluster.set_password(new)
    with cluster.running():
        assert ask(cluster, "SELECT number FROM kept", new) == 7
        with pytest.raises(OperationalError, match="password authentication failed"):
            ask(cluster, "SELECT 1")
        with pytest.raises(StackError, match=r"could not be given its password: .*postmaster\.pid") as refused:
            cluster.set_password("while it is served")
    assert "while it is served" not in str(refused.value)


def test_a_stack_whose_secret_was_removed_starts_with_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/security.md says of a secret that became known."""

    def look(environment: dict[str, str]) -> None:
        engine = create_engine(environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
        with engine.connect() as connection:
            seen.append(str(connection.scalar(text("SELECT current_user"))))
        engine.dispose()

    seen: list[str] = []
    monkeypatch.setattr(airflow_server, "migrate", look)
    with tempfile.TemporaryDirectory(prefix="kira-pg-") as folder:
        config = StackConfig(Path(folder))
        stack, known = LocalStack(config), config.secrets.database_password
        stack._migrate(environment(config))
        (config.home / "secrets.json").unlink()
        stack._migrate(environment(config))
        assert config.secrets.database_password != known
    assert seen == ["airflow", "airflow"]


def test_half_a_database_is_made_anew() -> None:
    with tempfile.TemporaryDirectory(prefix="kira-pg-") as folder:
        cluster = Cluster(Path(folder) / "data", Path(folder))
        (cluster.folder / "aside").mkdir(parents=True)
        (cluster.folder / "aside" / "PG_VERSION").write_text("18")
        assert cluster.make(PASSWORD)
        with cluster.running():
            assert ask(cluster, "SELECT 1") == 1


def test_its_own_words_are_in_the_error(cluster: Cluster) -> None:
    (cluster.folder / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(StackError, match=r"Airflow's database \(PostgreSQL\) could not be started: "):
        cluster.start()


def test_a_machine_without_the_package_or_setpriv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "find_spec", lambda _: None)
    with pytest.raises(StackError, match="run make run"):
        postgresql.programs()
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StackError, match="setpriv"):
        postgresql.as_other_user()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert postgresql.as_other_user() == []


def test_a_long_path_still_has_a_socket(tmp_path: Path) -> None:
    config = StackConfig(tmp_path / ("long" * 30))
    assert len(str(postgresql.of_stack(config).sockets / ".s.PGSQL.5432")) < 108
    airflow = environment(config)
    assert airflow["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith("postgresql+psycopg://airflow:")
    assert config.secrets.database_password in airflow["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]


def test_secrets_of_an_earlier_version_stay(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    Secrets.load(file)
    earlier = {name: value for name, value in json.loads(file.read_text()).items() if name != "database_password"}
    file.write_text(json.dumps(earlier))
    made = Secrets.load(file)
    assert made == Secrets.load(file)
    assert {name: getattr(made, name) for name in earlier} == earlier
    assert file.stat().st_mode & 0o077 == 0

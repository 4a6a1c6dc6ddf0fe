"""A published catalogue, open for reading: the files' footers decide what else is read of them.

Only what is published is looked at: Parquet files directly in folders named `batch=…`. Files are read by ranges.
"""

import difflib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from kira.catalog.parts import Group, Part, common_schema, damage
from kira.catalog.query import Query
from kira.errors import InvalidInput, StorageError
from kira.sdss.quoting import quoted
from kira.storage import Readable, open_readable
from kira.storage.ranged import RangedFile

Progress = Callable[[int, int], None]
"""Told how many of how many files are done."""

_BATCH = "batch="
_THREADS = 4

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass
class Tally:
    """What was read so far.

    Parameters
    ----------
    paths : set of str
        Files of which more than the footer was read.
    bytes : int
        Footers included.
    rows : int
        That were found.
    """

    paths: set[str] = field(default_factory=set)
    bytes: int = 0
    rows: int = 0

    @property
    def files(self) -> int:
        """Number of files of which more than the footer was read."""
        return len(self.paths)


class Published:
    """A published catalogue.

    Parameters
    ----------
    folder : Readable
        With folders `batch=…` in it.
    progress : callable, optional
        Told of the footers.

    Attributes
    ----------
    parts : tuple of Part
        By path.
    schema : pyarrow.Schema
        Of all of them, with `unit`, `ucd` and `description` of each field; its metadata is what the files say of
        themselves, different words joined by commas.
    tally : Tally

    Raises
    ------
    InvalidInput
        If nothing is published there, or a file is damaged or of another kind.
    StorageError
        If the storage refuses.
    """

    def __init__(self, folder: Readable, progress: Progress | None = None) -> None:
        self.folder, self.tally = folder, Tally()
        batches = [file.name for file in folder.top() if file.is_folder and file.name.startswith(_BATCH)]
        if not batches:
            raise InvalidInput(f"Nothing is published in {folder.url}: it has no folder whose name begins {_BATCH}.")
        paths = [
            f"{batch}/{file.name}" for batch in batches for file in folder.listing(batch)
            if not file.is_folder and file.name.endswith(".parquet") and file.name[0] not in "._"
        ]  # fmt: skip
        if not paths:
            raise InvalidInput(f"Nothing is published in {folder.url}: its batches hold no sources.")
        found = []
        for done, (part, read) in enumerate(_ahead(self._footer, sorted(paths)), 1):
            self.tally.bytes += read
            found.append(part)
            if progress:
                progress(done, len(paths))
        self.parts: tuple[Part, ...] = tuple(found)
        self.schema = common_schema(self.parts, folder.uri)

    @property
    def url(self) -> str:
        """Where it is."""
        return self.folder.url

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(part.size for part in self.parts)

    @property
    def rows(self) -> int:
        """Sources in all."""
        return sum(part.footer.num_rows for part in self.parts)

    def groups(self, query: Query | None = None) -> list[Group]:
        """Row groups that can hold what is wanted, by their footers."""
        every = (Group(part, number) for part in self.parts for number in range(part.footer.num_row_groups))
        return [group for group in every if query is None or query.may_hold(group.ranges())]

    def check(self, query: Query, columns: Sequence[str]) -> None:
        """Refuse what this catalogue does not have, with InvalidInput."""
        if query.primary and "primary" not in self.schema.names:
            raise InvalidInput(f"{self.url} does not say which of its sources are primary: its schema is older.")
        for name in columns:
            if name not in self.schema.names:
                near = difflib.get_close_matches(name, self.schema.names, 3)
                hint = f"; did you mean {' or '.join(near)}?" if near else "."
                raise InvalidInput(f"{self.url} has no column {quoted(name)}{hint}")

    def scan(
        self, query: Query, columns: Sequence[str] | None = None, progress: Progress | None = None
    ) -> Iterator[pa.Table]:
        """Tables of the rows that are wanted, in the order of the files; never one without rows.

        Parameters
        ----------
        query : Query
        columns : sequence of str, optional
            All by default.
        progress : callable, optional

        Raises
        ------
        InvalidInput
            If there is no such column, or a file is damaged.
        StorageError
            If the storage refuses, or a file was replaced meanwhile.
        """
        names = list(columns if columns is not None else self.schema.names)
        self.check(query, names)
        by_part: dict[str, list[Group]] = {}
        for group in self.groups(query):
            by_part.setdefault(group.part.path, []).append(group)
        tables = _ahead(lambda groups: self._wanted(groups, query, names), list(by_part.values()))
        for done, (path, (table, read)) in enumerate(zip(by_part, tables, strict=True), 1):
            self.tally.paths.add(path)
            self.tally.bytes += read
            self.tally.rows += table.num_rows
            if progress:
                progress(done, len(by_part))
            if table.num_rows:
                yield table

    def read(self, groups: Iterable[Group], columns: Sequence[str]) -> pa.Table:
        """All rows of some row groups."""
        tables = [self.schema_of(columns).empty_table()]
        for group in groups:
            with self._open(group.part) as file:
                tables.append(self._columns(file, group, columns))
            self.tally.paths.add(group.part.path)
            self.tally.bytes += file.bytes_read
        return pa.concat_tables(tables)

    def schema_of(self, columns: Sequence[str]) -> pa.Schema:
        """Schema of some columns, in that order."""
        return pa.schema([self.schema.field(name) for name in columns], metadata=self.schema.metadata)

    def _wanted(self, groups: Sequence[Group], query: Query, names: Sequence[str]) -> tuple[pa.Table, int]:
        """Rows of a file that are wanted, and how many bytes were read for them."""
        looked_at = query.columns
        tables = [self.schema_of(names).empty_table()]
        with self._open(groups[0].part) as file:
            for group in groups:
                told = self._columns(file, group, looked_at)
                if not looked_at:
                    tables.append(self._columns(file, group, names))
                    continue
                mask = query.mask(told)
                if not mask.any():
                    continue  # and nothing else of it is read
                rest = [name for name in names if name not in looked_at]
                more = self._columns(file, group, rest)
                both = {name: (more if name in rest else told)[name] for name in names}
                whole = pa.Table.from_arrays(list(both.values()), schema=self.schema_of(names))
                tables.append(whole if mask.all() else whole.filter(pa.array(mask)))
        return pa.concat_tables(tables), file.bytes_read

    @contextmanager
    def _open(self, part: Part) -> Iterator[RangedFile]:
        with self.folder.open(part.path) as file:
            if file.version != part.version:
                # Its footer is that of the file before.
                raise StorageError(f"{file.uri} was replaced while the catalogue was read: ask again.")
            yield file

    def _columns(self, file: RangedFile, group: Group, names: Sequence[str]) -> pa.Table:
        if not names:
            return self.schema_of(()).empty_table()
        with damage(file.uri):
            table = pq.ParquetFile(file, metadata=group.part.footer, pre_buffer=True).read_row_group(
                group.number, columns=list(names), use_threads=False
            )
        return pa.Table.from_arrays([table[name] for name in names], schema=self.schema_of(names))

    def _footer(self, path: str) -> tuple[Part, int]:
        with self.folder.open(path) as file, damage(file.uri):
            footer = pq.read_metadata(file)
        return Part(path, file.size, file.version, footer), file.bytes_read


def open_catalogue(place: str, progress: Progress | None = None) -> Published:
    """Open a published catalogue by its path or URL; see `open_readable` and `Published`."""
    return Published(open_readable(place), progress)


def _ahead(work: Callable[[_In], _Out], items: Sequence[_In]) -> Iterator[_Out]:
    """Results in the order of the items, a few of them worked on ahead: a store answers several at a time."""
    waiting: deque[Future[_Out]] = deque()
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            for item in items:
                waiting.append(threads.submit(work, item))
                if len(waiting) > _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()

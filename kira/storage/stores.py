"""Where staged frames and catalogues lie: HDFS, or a POSIX file system that all nodes see."""

import os
import re
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hdfs_native import Client, WriteOptions
from typing_extensions import override

from kira.errors import InvalidInput, StorageError
from kira.sdss.quoting import one_line, quoted
from kira.storage.failures import first_line, storage_errors
from kira.storage.ranged import RangedFile
from kira.storage.store import Store, StoredFile, check_path

_COMPLETE_SECONDS, _COMPLETE_POLL = 60.0, 0.002
_HOST = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", re.ASCII)


class PosixStore(Store):
    """A folder of a POSIX file system, as `file:///path`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.root = Path(unquote(urlsplit(url).path))

    def _at(self, path: str) -> Path:
        return self.root / check_path(path)

    @override
    def _write(self, path: str, content: bytes) -> None:
        target = self._at(path)
        with storage_errors(self.uri(path), "written"):
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    @override
    def read(self, path: str) -> bytes:
        with storage_errors(self.uri(path), "read"):
            return self._at(path).read_bytes()

    @override
    def open(self, path: str) -> RangedFile:
        with storage_errors(self.uri(path), "opened"):
            # Not Python's own buffered file: ranges may be asked for by several threads.
            handle = os.open(self._at(path), os.O_RDONLY)
            found = os.fstat(handle)
        version = f"{found.st_ino} {found.st_mtime_ns} {found.st_size}"
        return RangedFile(
            self.uri(path), found.st_size, version, lambda offset, length: os.pread(handle, length, offset),
            lambda: os.close(handle),
        )  # fmt: skip

    @override
    def size(self, path: str) -> int | None:
        with storage_errors(self.uri(path), "looked up"):
            found = _look(self._at(path))
        return found.size if found else None

    @override
    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        old, new = self._at(source), self._at(target)
        if not overwrite and self.exists(target):
            raise StorageError(f"{self.uri(target)} is already there.")
        with storage_errors(self.uri(source), f"renamed to {target}"):
            new.parent.mkdir(parents=True, exist_ok=True)
            old.replace(new)

    @override
    def delete(self, path: str) -> None:
        target = self._at(path)
        with storage_errors(self.uri(path), "removed"), suppress(FileNotFoundError, NotADirectoryError):
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink()

    @override
    def listing(self, path: str) -> list[StoredFile]:
        return self._list(self._at(path), self.uri(path))

    @override
    def top(self) -> list[StoredFile]:
        return self._list(self.root, self.url)

    @staticmethod
    def _list(folder: Path, uri: str) -> list[StoredFile]:
        with storage_errors(uri, "listed"):
            found = [_look(below) for below in sorted(folder.iterdir())] if folder.is_dir() else []
        return [file for file in found if file]


class HdfsStore(Store):
    """A folder of HDFS, as `hdfs://namenode:port/path`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        parts = urlsplit(url)
        self.root = unquote(parts.path).rstrip("/")
        self.client = Client(f"hdfs://{parts.netloc}")

    def _at(self, path: str) -> str:
        return f"{self.root}/{check_path(path)}"

    @override
    def _write(self, path: str, content: bytes) -> None:
        target = self._at(path)
        with storage_errors(self.uri(path), "written"):
            with self.client.create(target, WriteOptions(create_parent=True)) as file:
                file.write(content)
            # Where the NameNode lets a file be closed before a DataNode has reported its last block
            # (dfs.namenode.file.close.num-committed-allowed), it is read without that block for some milliseconds.
            deadline = time.monotonic() + _COMPLETE_SECONDS
            while len(self.client.read(target)) < len(content):
                if time.monotonic() > deadline:
                    raise StorageError(
                        f"{self.uri(path)} was written, but no DataNode has reported its last block to the NameNode "
                        f"for {_COMPLETE_SECONDS:.0f} s."
                    )
                time.sleep(_COMPLETE_POLL)

    @override
    def read(self, path: str) -> bytes:
        with storage_errors(self.uri(path), "read"):
            content: bytes = self.client.read(self._at(path)).read()
        return content

    @override
    def open(self, path: str) -> RangedFile:
        with storage_errors(self.uri(path), "opened"):
            found = self.client.get_file_info(self._at(path))
            reader = self.client.read(self._at(path))
        return RangedFile(self.uri(path), len(reader), f"{found.modification_time} {found.length}", reader.read_range)

    @override
    def is_lost(self, path: str) -> bool:
        try:
            self.client.read(self._at(path)).read(1)
        except (OSError, RuntimeError):
            return True
        return False

    @override
    def size(self, path: str) -> int | None:
        with storage_errors(self.uri(path), "looked up"), suppress(FileNotFoundError):
            return int(self.client.get_file_info(self._at(path)).length)
        return None

    @override
    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        old, new = self._at(source), self._at(target)
        with storage_errors(self.uri(source), f"renamed to {target}"):
            self.client.mkdirs(new.rpartition("/")[0], create_parent=True)
            self.client.rename(old, new, overwrite)

    @override
    def delete(self, path: str) -> None:
        with storage_errors(self.uri(path), "removed"), suppress(FileNotFoundError):
            self.client.delete(self._at(path), recursive=True)

    @override
    def listing(self, path: str) -> list[StoredFile]:
        return self._list(self._at(path), self.uri(path))

    @override
    def top(self) -> list[StoredFile]:
        return self._list(self.root, self.url)

    def _list(self, target: str, uri: str) -> list[StoredFile]:
        with storage_errors(uri, "listed"), suppress(FileNotFoundError):
            # Of a file HDFS lists the file itself.
            found = [status for status in self.client.list_status(target) if status.path != target]
            files = (StoredFile(s.path.rpartition("/")[2], int(s.length), bool(s.isdir)) for s in found)
            return sorted(files, key=lambda file: file.name)
        return []


def open_store(url: str) -> Store:
    """Store for a root URL: `hdfs://host:port/path` or `file:///path`."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # refuses what is no port
    except ValueError as error:
        raise InvalidInput(f"{quoted(url)} is not a URL: {one_line(str(error))}.") from error
    if parts.query or parts.fragment:
        raise InvalidInput(f"{quoted(url)}: a store's URL has no query and no fragment.")
    # Python's parser drops line breaks without a word, and a file system ends a name at a NUL.
    if not (url.isprintable() and unquote(url).isprintable()):
        raise InvalidInput(f"{quoted(url)} is not a place to stage to: it has characters that cannot be seen.")
    if parts.path.startswith("/") and parts.path.strip("/"):
        if parts.scheme == "hdfs" and _HOST.fullmatch(parts.netloc):
            try:
                return HdfsStore(url)
            except RuntimeError as error:  # such as a name service that no configuration knows
                reason = first_line(str(error))
                raise InvalidInput(f"{quoted(url)} is not an HDFS that can be found: {reason}.") from error
        if parts.scheme == "file" and not parts.netloc:
            return PosixStore(url)
    raise InvalidInput(f"{quoted(url)} is not a place to stage to: use hdfs://host:port/path or file:///path.")


def _look(path: Path) -> StoredFile | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):  # never there, or renamed since it was listed
        return None
    is_folder = stat.S_ISDIR(status.st_mode)
    return StoredFile(path.name, 0 if is_folder else status.st_size, is_folder)

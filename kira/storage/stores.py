"""Where staged frames and catalogues lie: HDFS, or a POSIX file system that all nodes see.

One small abstract class and one implementation for each kind. Paths are relative to the store's root and made of
plain names. Whatever is written becomes visible whole or not at all: aside first, then one rename.
"""

import os
import re
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hdfs_native import Client, WriteOptions
from typing_extensions import override

from kira.errors import InvalidInput, StorageError

# HDFS forbids ':'; the rest keeps shells, URLs and Hive-style partitions (batch=…) free of surprises.
_NAME = re.compile(r"[A-Za-z0-9_.=+,-]+", re.ASCII)


@dataclass(frozen=True)
class StoredFile:
    """One file or folder of a listing."""

    name: str
    size: int
    is_folder: bool


class Store(ABC):
    """A tree of files below one root URL.

    Parameters
    ----------
    url : str
        Root, without a slash at its end.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def uri(self, path: str) -> str:
        """Full URL of a path below the root."""
        return f"{self.url}/{check_path(path)}"

    def path_of(self, uri: str) -> str:
        """Path below the root of a full URL; InvalidInput if it lies elsewhere."""
        prefix = self.url + "/"
        if not uri.startswith(prefix):
            raise InvalidInput(f"{uri} is not below {self.url}, where this store keeps its files.")
        return check_path(uri[len(prefix) :])

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file: aside, then renamed over whatever was there."""
        aside = f"{path}.aside-{uuid.uuid4().hex}"
        try:
            self._write(aside, content)
            self.rename(aside, path, overwrite=True)
        except BaseException:
            self.delete(aside)
            raise

    @abstractmethod
    def _write(self, path: str, content: bytes) -> None:
        """Create a file with its parent folders."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Content of a file; StorageError if it is not there."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Length of a file in bytes, 0 for a folder, None where there is nothing."""

    @abstractmethod
    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Move a file or folder in one step; StorageError if the target is there and may not be replaced."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove a file or a whole folder; nothing happens where there is none."""

    @abstractmethod
    def listing(self, path: str) -> list[StoredFile]:
        """What lies directly in a folder, by name; empty where there is no such folder."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder."""
        return self.size(path) is not None

    def walk(self, path: str) -> Iterator[tuple[str, StoredFile]]:
        """All files below a folder with their paths below the root."""
        for entry in self.listing(path):
            below = f"{path}/{entry.name}"
            if entry.is_folder:
                yield from self.walk(below)
            else:
                yield below, entry


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
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    @override
    def read(self, path: str) -> bytes:
        try:
            return self._at(path).read_bytes()
        except OSError as error:
            raise StorageError(f"{self.uri(path)} could not be read: {error.strerror}.") from error

    @override
    def size(self, path: str) -> int | None:
        target = self._at(path)
        if target.is_dir():
            return 0
        return target.stat().st_size if target.exists() else None

    @override
    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        if not overwrite and self.exists(target):
            raise StorageError(f"{self.uri(target)} is already there.")
        self._at(target).parent.mkdir(parents=True, exist_ok=True)
        try:
            self._at(source).replace(self._at(target))
        except OSError as error:
            raise StorageError(f"{self.uri(source)} could not be renamed to {target}: {error.strerror}.") from error

    @override
    def delete(self, path: str) -> None:
        target = self._at(path)
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    @override
    def listing(self, path: str) -> list[StoredFile]:
        target = self._at(path)
        if not target.is_dir():
            return []
        return [StoredFile(p.name, 0 if p.is_dir() else p.stat().st_size, p.is_dir()) for p in sorted(target.iterdir())]


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
        try:
            with self.client.create(self._at(path), WriteOptions(create_parent=True)) as file:
                file.write(content)
        except (OSError, RuntimeError) as error:
            raise StorageError(f"{self.uri(path)} could not be written: {_first_line(error)}") from error

    @override
    def read(self, path: str) -> bytes:
        try:
            content: bytes = self.client.read(self._at(path)).read()
        except (OSError, RuntimeError) as error:
            raise StorageError(f"{self.uri(path)} could not be read: {_first_line(error)}") from error
        return content

    @override
    def size(self, path: str) -> int | None:
        try:
            return int(self.client.get_file_info(self._at(path)).length)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError) as error:
            raise StorageError(f"{self.uri(path)} could not be looked up: {_first_line(error)}") from error

    @override
    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        parent = self._at(target).rpartition("/")[0]
        try:
            self.client.mkdirs(parent, create_parent=True)
            self.client.rename(self._at(source), self._at(target), overwrite)
        except (OSError, RuntimeError) as error:
            raise StorageError(f"{self.uri(source)} could not be renamed to {target}: {_first_line(error)}") from error

    @override
    def delete(self, path: str) -> None:
        try:
            self.client.delete(self._at(path), recursive=True)
        except FileNotFoundError:
            return
        except (OSError, RuntimeError) as error:
            raise StorageError(f"{self.uri(path)} could not be removed: {_first_line(error)}") from error

    @override
    def listing(self, path: str) -> list[StoredFile]:
        try:
            found = list(self.client.list_status(self._at(path)))
        except FileNotFoundError:
            return []
        except (OSError, RuntimeError) as error:
            raise StorageError(f"{self.uri(path)} could not be listed: {_first_line(error)}") from error
        files = (StoredFile(s.path.rpartition("/")[2], int(s.length), bool(s.isdir)) for s in found)
        return sorted(files, key=lambda file: file.name)


def check_path(path: str) -> str:
    """Let a relative path of plain names through; InvalidInput for anything else."""
    parts = path.split("/")
    if any(part in (".", "..") or not _NAME.fullmatch(part) for part in parts):
        raise InvalidInput(f"{path!r} is not a path of plain names.")
    return path


def open_store(url: str) -> Store:
    """Store for a root URL: `hdfs://host:port/path` or `file:///path`."""
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise InvalidInput(f"{url}: a store's URL has no query and no fragment.")
    if parts.scheme == "hdfs" and parts.netloc and len(parts.path) > 1:
        return HdfsStore(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return PosixStore(url)
    raise InvalidInput(f"{url!r} is not a place to stage to: use hdfs://host:port/path or file:///path.")


def _first_line(error: BaseException) -> str:
    # HDFS answers with a Java stack trace; its first line says what happened.
    return str(error).strip().split("\n", 1)[0]

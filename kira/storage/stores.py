"""Where staged frames and catalogues lie: HDFS, or a POSIX file system that all nodes see.

One small abstract class and one implementation for each kind. Paths are relative to the store's root and made of
plain names. Whatever is written becomes visible whole or not at all: aside first, then one rename.
"""

import os
import re
import shutil
import stat
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hdfs_native import Client, WriteOptions
from typing_extensions import override

from kira.errors import InvalidInput, StorageError
from kira.sdss.quoting import one_line, quoted

_ASIDE = re.compile(r"\.aside-[0-9a-f]{32}$")
# HDFS forbids ':'; the rest keeps shells, URLs and Hive-style partitions (batch=…) free of surprises.
_NAME = re.compile(r"[A-Za-z0-9_.=+,-]+", re.ASCII)
_HOST = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", re.ASCII)


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
            raise InvalidInput(f"{one_line(uri)} is not below {self.url}, where this store keeps its files.")
        return check_path(uri[len(prefix) :])

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file: aside, then renamed over whatever was there."""
        aside = f"{check_path(path)}.aside-{uuid.uuid4().hex}"
        try:
            self._write(aside, content)
            self.rename(aside, path, overwrite=True)
        except BaseException:
            with suppress(StorageError):  # what went wrong first is what has to be said
                self.delete(aside)
            raise

    def clear_aside(self, folder: str) -> None:
        """Remove what writers left aside directly in a folder: killed, or cut off from the store, they could not.

        Only for a folder in which nobody is at work.
        """
        for entry in self.listing(folder):
            if _ASIDE.search(entry.name):
                self.delete(f"{folder}/{entry.name}")

    @abstractmethod
    def _write(self, path: str, content: bytes) -> None:
        """Create a file with its parent folders."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Content of a file; StorageError if it is not there."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Length of a file in bytes, 0 for a folder, None where there is nothing."""

    def is_lost(self, path: str) -> bool:  # noqa: ARG002
        """Whether a file that is listed cannot be read at all: HDFS goes on listing what has lost all its replicas."""
        return False

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
        with _storage_errors(self.uri(path), "written"):
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    @override
    def read(self, path: str) -> bytes:
        with _storage_errors(self.uri(path), "read"):
            return self._at(path).read_bytes()

    @override
    def size(self, path: str) -> int | None:
        with _storage_errors(self.uri(path), "looked up"):
            found = _look(self._at(path))
        return found.size if found else None

    @override
    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        old, new = self._at(source), self._at(target)
        if not overwrite and self.exists(target):
            raise StorageError(f"{self.uri(target)} is already there.")
        with _storage_errors(self.uri(source), f"renamed to {target}"):
            new.parent.mkdir(parents=True, exist_ok=True)
            old.replace(new)

    @override
    def delete(self, path: str) -> None:
        target = self._at(path)
        with _storage_errors(self.uri(path), "removed"), suppress(FileNotFoundError, NotADirectoryError):
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink()

    @override
    def listing(self, path: str) -> list[StoredFile]:
        target = self._at(path)
        with _storage_errors(self.uri(path), "listed"):
            found = [_look(below) for below in sorted(target.iterdir())] if target.is_dir() else []
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
        with (
            _storage_errors(self.uri(path), "written"),
            self.client.create(self._at(path), WriteOptions(create_parent=True)) as file,
        ):
            file.write(content)

    @override
    def read(self, path: str) -> bytes:
        with _storage_errors(self.uri(path), "read"):
            content: bytes = self.client.read(self._at(path)).read()
        return content

    @override
    def is_lost(self, path: str) -> bool:
        try:
            self.client.read(self._at(path)).read(1)
        except (OSError, RuntimeError):
            return True
        return False

    @override
    def size(self, path: str) -> int | None:
        with _storage_errors(self.uri(path), "looked up"), suppress(FileNotFoundError):
            return int(self.client.get_file_info(self._at(path)).length)
        return None

    @override
    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        old, new = self._at(source), self._at(target)
        with _storage_errors(self.uri(source), f"renamed to {target}"):
            self.client.mkdirs(new.rpartition("/")[0], create_parent=True)
            self.client.rename(old, new, overwrite)

    @override
    def delete(self, path: str) -> None:
        with _storage_errors(self.uri(path), "removed"), suppress(FileNotFoundError):
            self.client.delete(self._at(path), recursive=True)

    @override
    def listing(self, path: str) -> list[StoredFile]:
        target = self._at(path)
        with _storage_errors(self.uri(path), "listed"), suppress(FileNotFoundError):
            # Of a file HDFS lists the file itself.
            found = [status for status in self.client.list_status(target) if status.path != target]
            files = (StoredFile(s.path.rpartition("/")[2], int(s.length), bool(s.isdir)) for s in found)
            return sorted(files, key=lambda file: file.name)
        return []


def check_path(path: str) -> str:
    """Let a relative path of plain names through; InvalidInput for anything else."""
    parts = path.split("/")
    if any(part in (".", "..") or not _NAME.fullmatch(part) for part in parts):
        raise InvalidInput(f"{quoted(path)} is not a path of plain names.")
    return path


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
                reason = _first_line(str(error))
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


@contextmanager
def _storage_errors(uri: str, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or _first_line(str(error))
        raise StorageError(f"{uri} could not be {what}: {reason}.") from error


def _first_line(text: str) -> str:
    # HDFS answers with a Java stack trace in quotes: RPCError("org.apache.….SomeException", "what happened\\n\\tat …")
    first = re.split(r"\n|\\n", text.strip(), maxsplit=1)[0]
    # And the client with the name of its error, and all that it knows of every DataNode.
    first = re.sub(r"[: \[]*DatanodeInfoProto \{.*", "", re.sub(r'^(?!RPCError)[A-Z]\w+\("', "", first))
    return re.sub(r'^RPCError\("(?:\w+\.)*(\w+)", "', r"\1: ", first).removesuffix('")').rstrip(".")

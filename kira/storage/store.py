"""What a place for staged frames and catalogues can do, whatever it is.

Paths are relative to the store's root and made of plain names. Whatever is written becomes visible whole or not at
all: aside first, then one rename.
"""

import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from kira.errors import InvalidInput, StorageError
from kira.sdss.quoting import one_line, quoted
from kira.storage.ranged import RangedFile

_ASIDE = re.compile(r"\.aside-[0-9a-f]{32}$")
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
    def open(self, path: str) -> RangedFile:
        """Open a file to read ranges of it; StorageError if it is not there."""

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

    @abstractmethod
    def top(self) -> list[StoredFile]:
        """What lies directly in the root, by name; empty where there is no such folder."""

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


def check_path(path: str) -> str:
    """Let a relative path of plain names through; InvalidInput for anything else."""
    parts = path.split("/")
    if any(part in (".", "..") or not _NAME.fullmatch(part) for part in parts):
        raise InvalidInput(f"{quoted(path)} is not a path of plain names.")
    return path

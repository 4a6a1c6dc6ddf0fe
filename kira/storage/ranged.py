"""A stored file that is read by ranges: what is asked for crosses the network, and no more."""

import io
import os
from collections.abc import Callable

from typing_extensions import override

from kira.storage.failures import storage_errors


class RangedFile(io.RawIOBase):
    """A file open for reading, with a position.

    Nothing is buffered, so that `bytes_read` is what the store was asked for; readers of Parquet ask for ranges that
    are as large as suits them.

    Parameters
    ----------
    uri : str
        For messages.
    size : int
        Bytes.
    version : str
        Another one if the file was replaced by another of the same name.
    read_at : callable
        From offset and length to bytes.
    close : callable, optional
        Gives back what the store holds open.
    """

    def __init__(
        self, uri: str, size: int, version: str, read_at: Callable[[int, int], bytes],
        close: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.uri, self.size, self.version = uri, size, version
        self.bytes_read = 0
        self._read_at, self._close, self._position = read_at, close, 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._position

    @override
    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError(f"There is nothing before the beginning of {self.uri}.")
        self._position = start + offset
        return self._position

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        """Bytes from the position on, up to the end of the file.

        Raises
        ------
        StorageError
            If the store refuses, or the file was replaced meanwhile.
        """
        left = max(self.size - self._position, 0)
        length = left if size is None or size < 0 else min(size, left)
        if not length:
            return b""
        with storage_errors(self.uri, "read"):
            content = self._read_at(self._position, length)
        self._position += len(content)
        self.bytes_read += len(content)
        return content

    @override
    def readall(self) -> bytes:
        return self.read()

    @override
    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    @override
    def close(self) -> None:
        if not self.closed:
            self._close()
        super().close()

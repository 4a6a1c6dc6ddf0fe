"""A folder that is only read, wherever it lies: on this machine, on HDFS, or in an S3 bucket."""

import re
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from kira.errors import InvalidInput
from kira.sdss.quoting import one_line, quoted
from kira.storage.failures import storage_errors
from kira.storage.ranged import RangedFile
from kira.storage.store import StoredFile, check_path
from kira.storage.stores import open_store

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_PATIENCE = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "max_attempts": 4})


class Readable(Protocol):
    """What a reader needs of a folder; every `Store` has it too."""

    url: str

    def uri(self, path: str) -> str:
        """Full URL of a path below the folder."""

    def top(self) -> list[StoredFile]:
        """What lies directly in the folder, by name."""

    def listing(self, path: str) -> list[StoredFile]:
        """What lies directly in a folder below it, by name."""

    def open(self, path: str) -> RangedFile:
        """Open a file to read ranges of it."""


class S3Folder:
    """What lies below one prefix of a bucket.

    Parameters
    ----------
    url : str
        `s3://bucket` or `s3://bucket/prefix`.
    client : boto3 S3 client
    """

    def __init__(self, url: str, client: Any) -> None:
        parts = urlsplit(url)
        self.url = url.rstrip("/")
        self.bucket, prefix = parts.netloc, parts.path.strip("/")
        if not _BUCKET.fullmatch(self.bucket) or parts.query or parts.fragment:
            raise InvalidInput(f"{quoted(url)} is not a place in S3: use s3://bucket/prefix.")
        self.prefix = f"{check_path(prefix)}/" if prefix else ""
        self.client = client

    def uri(self, path: str) -> str:
        """Full URL of a path below the prefix."""
        return f"{self.url}/{check_path(path)}"

    def top(self) -> list[StoredFile]:
        """What lies directly below the prefix, by name."""
        return self._list("", self.url)

    def listing(self, path: str) -> list[StoredFile]:
        """What lies directly below a path, by name; empty where there is nothing."""
        return self._list(f"{check_path(path)}/", self.uri(path))

    def _list(self, below: str, uri: str) -> list[StoredFile]:
        prefix = self.prefix + below
        found: list[StoredFile] = []
        with storage_errors(uri, "listed"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, Delimiter="/"
            )
            for page in pages:
                folders = (one["Prefix"][len(prefix) : -1] for one in page.get("CommonPrefixes", ()))
                found += (StoredFile(name, 0, True) for name in folders)
                found += (StoredFile(one["Key"][len(prefix) :], one["Size"], False) for one in page.get("Contents", ()))
        # Some tools put an empty object in place of a folder: its name is that of the prefix itself.
        return sorted((file for file in found if file.name), key=lambda file: file.name)

    def open(self, path: str) -> RangedFile:
        """Open an object to read ranges of it; what is read is of this version of it, or a StorageError."""
        uri, key = self.uri(path), self.prefix + path
        with storage_errors(uri, "opened"):
            head = self.client.head_object(Bucket=self.bucket, Key=key)
        etag = head["ETag"]

        def read_at(offset: int, length: int) -> bytes:
            told = f"bytes={offset}-{offset + length - 1}"
            answer = self.client.get_object(Bucket=self.bucket, Key=key, Range=told, IfMatch=etag)
            content: bytes = answer["Body"].read()
            return content

        return RangedFile(uri, head["ContentLength"], etag, read_at)


def open_readable(place: str) -> Readable:
    """Folder of a path or URL: `/some/folder`, `file:///…`, `hdfs://host:port/…`, `s3://bucket/prefix`.

    S3's address, keys and region are those of the environment and of AWS's own files (`AWS_ENDPOINT_URL`,
    `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE`, …).

    Raises
    ------
    InvalidInput
        If it is none of these.
    StorageError
        If AWS's settings cannot be used.
    """
    scheme = place.partition("://")[0] if "://" in place else ""
    if scheme in ("hdfs", "file"):
        return open_store(place)
    if scheme == "s3":
        return S3Folder(place, _s3_client(place))
    if scheme or not place or not place.isprintable():
        raise InvalidInput(
            f"{quoted(place)} is not a folder that can be read: use a path, file:///path, hdfs://host:port/path or "
            "s3://bucket/prefix."
        )
    return open_store(Path(place).expanduser().absolute().as_uri())


def _s3_client(url: str) -> Any:
    try:
        with storage_errors(url, "opened"):
            # Not boto3's default session, which keeps the keys that it found first for as long as the process lives.
            return boto3.session.Session().client("s3", config=_PATIENCE)
    except ValueError as error:  # an AWS_ENDPOINT_URL that is no URL
        raise InvalidInput(f"{url} could not be opened: {one_line(str(error))}.") from error

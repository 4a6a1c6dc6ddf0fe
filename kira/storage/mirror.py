"""The S3 mirror: the archive's files under the archive's own paths, each with its SHA-256."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from kira.errors import ChecksumMismatch, StorageError


@dataclass(frozen=True)
class Mirrored:
    """What the mirror knows of one file.

    Parameters
    ----------
    size : int
        Bytes of the file as the archive serves it.
    sha256 : str
        Of those bytes, hex, computed while they were downloaded.
    plain_size : int
        Bytes of the decompressed FITS file.
    plain_sha256 : str
        Of the decompressed FITS file, hex.
    listed : str
        What the archive's listing said of the file when it was fetched; empty if it was not asked.
    """

    size: int
    sha256: str
    plain_size: int
    plain_sha256: str
    listed: str = ""


class S3Mirror:
    """One bucket of an S3 server.

    Parameters
    ----------
    client : boto3 S3 client
    bucket : str
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self.client = client
        self.bucket = bucket

    def find(self, key: str) -> Mirrored | None:
        """What is known of a mirrored file, None if it is not in the mirror.

        Raises
        ------
        StorageError
            If S3 does not answer, or the object was not put there by us and so has no SHA-256.
        """
        try:
            head = self.client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise self._failed("look up", key, error) from error
        except BotoCoreError as error:
            raise self._failed("look up", key, error) from error
        metadata = head["Metadata"]
        try:
            return Mirrored(
                head["ContentLength"], metadata["sha256"], int(metadata["plain-size"]), metadata["plain-sha256"],
                metadata.get("listed", ""),
            )  # fmt: skip
        except KeyError as error:
            raise StorageError(
                f"s3://{self.bucket}/{key} carries no {error} in its metadata: it was not mirrored by Kira. "
                "Remove it, and it will be fetched again."
            ) from error

    def put(
        self, key: str, content: bytes, facts: Mirrored, source: dict[str, str], *, overwrite: bool = False
    ) -> bool:
        """Store a file, unless it is there already or is to be replaced.

        The server is told the SHA-256 and refuses other bytes.

        Parameters
        ----------
        key : str
        content : bytes
        facts : Mirrored
        source : dict of str
            Where it came from (URL, ETag, date), kept as object metadata.
        overwrite : bool
            Replace what is there, in one step.

        Returns
        -------
        bool
            False if another writer was faster, whose object stays.
        """
        digest = base64.b64encode(bytes.fromhex(facts.sha256)).decode()
        metadata = {
            "sha256": facts.sha256,
            "plain-size": str(facts.plain_size),
            "plain-sha256": facts.plain_sha256,
        } | {
            name: value.encode("ascii", "replace").decode()
            for name, value in (source | {"listed": facts.listed}).items()
            if value
        }
        try:
            self.client.put_object(
                Bucket=self.bucket, Key=key, Body=content, Metadata=metadata, ChecksumSHA256=digest,
                ContentType="application/octet-stream", **({} if overwrite else {"IfNoneMatch": "*"}),
            )  # fmt: skip
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                return False
            raise self._failed("store", key, error) from error
        except BotoCoreError as error:
            raise self._failed("store", key, error) from error
        return True

    def get(self, key: str, sha256: str) -> bytes:
        """Content of a mirrored file, checked on the way out.

        Raises
        ------
        ChecksumMismatch
            If these are not the bytes that were downloaded from the archive.
        StorageError
            If S3 does not answer or has no such object.
        """
        try:
            content: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except (ClientError, BotoCoreError) as error:
            raise self._failed("read", key, error) from error
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            self.delete(key)
            raise ChecksumMismatch(
                f"s3://{self.bucket}/{key} came out with SHA-256 {found}, but {sha256} was downloaded. The object was "
                "removed; the next ingestion fetches it again."
            )
        return content

    def listing(self, prefix: str) -> dict[str, int]:
        """Bytes of all objects whose keys begin with a prefix, by key; StorageError if S3 does not answer."""
        try:
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
        except (ClientError, BotoCoreError) as error:
            raise self._failed("list", prefix, error) from error

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        try:
            self.client.delete_object(Bucket=self.bucket, Key=key)
        except (ClientError, BotoCoreError) as error:
            raise self._failed("remove", key, error) from error

    def ensure_bucket(self) -> None:
        """Create the bucket if it is not there."""
        try:
            self.client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise self._failed("use", "", error) from error
            self.client.create_bucket(Bucket=self.bucket)

    def _failed(self, what: str, key: str, error: Exception) -> StorageError:
        return StorageError(f"S3 could not {what} s3://{self.bucket}/{key}: {error}")

"""What file systems, HDFS and S3 say when they refuse, as one sentence with the file's URL."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from kira.errors import StorageError


@contextmanager
def storage_errors(uri: str, what: str) -> Iterator[None]:
    """Turn what a store raises inside the block into a StorageError: "`uri` could not be `what`: …"."""
    try:
        yield
    except (OSError, RuntimeError, ClientError, BotoCoreError) as error:
        reason = getattr(error, "strerror", None) or first_line(str(error))
        raise StorageError(f"{uri} could not be {what}: {reason}.") from error


def first_line(text: str) -> str:
    """First line of what a server or its client says, without the names of their classes."""
    # HDFS answers with a Java stack trace in quotes: RPCError("org.apache.….SomeException", "what happened\\n\\tat …")
    first = re.split(r"\n|\\n", text.strip(), maxsplit=1)[0]
    # And the client with the name of its error, and all that it knows of every DataNode.
    first = re.sub(r"[: \[]*DatanodeInfoProto \{.*", "", re.sub(r'^(?!RPCError)[A-Z]\w+\("', "", first))
    return re.sub(r'^RPCError\("(?:\w+\.)*(\w+)", "', r"\1: ", first).removesuffix('")').rstrip(".")

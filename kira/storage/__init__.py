"""S3, HDFS, POSIX; checksums; manifests."""

from kira.storage.manifest import Beside, Entry, Manifest, catalogue_folder
from kira.storage.mirror import Mirrored, S3Mirror
from kira.storage.readable import Readable, open_readable
from kira.storage.store import Store, StoredFile
from kira.storage.stores import open_store

__all__ = [
    "Beside", "Entry", "Manifest", "Mirrored", "Readable", "S3Mirror", "Store", "StoredFile", "catalogue_folder",
    "open_readable", "open_store",
]  # fmt: skip

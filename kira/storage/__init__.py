"""S3, HDFS, POSIX; checksums; manifests."""

from kira.storage.manifest import Entry, Manifest, catalogue_folder
from kira.storage.mirror import Mirrored, S3Mirror
from kira.storage.stores import Store, StoredFile, open_store

__all__ = ["Entry", "Manifest", "Mirrored", "S3Mirror", "Store", "StoredFile", "catalogue_folder", "open_store"]

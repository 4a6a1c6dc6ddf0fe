"""Published lists of frames to measure with: read, made from a run list, and fetched from the archive."""

from kira.datasets.lists import LISTS, DataSet, Stretch, known_data_sets, open_data_set, read_data_set

__all__ = ["LISTS", "DataSet", "Stretch", "known_data_sets", "open_data_set", "read_data_set"]

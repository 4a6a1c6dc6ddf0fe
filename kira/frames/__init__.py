"""Bytes of a FITS file to pixels and sky coordinates."""

from kira.frames.frame import COLUMNS, ROWS, Frame
from kira.frames.integrity import unpack
from kira.frames.reader import read_frame

__all__ = ["COLUMNS", "ROWS", "Frame", "read_frame", "unpack"]

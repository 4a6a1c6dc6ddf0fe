"""Bytes of a FITS file to pixels, sky coordinates, calibration, noise and mask."""

from kira.frames.companions import Companions
from kira.frames.frame import COLUMNS, ROWS, Frame
from kira.frames.integrity import unpack
from kira.frames.reader import read_frame

__all__ = ["COLUMNS", "ROWS", "Companions", "Frame", "read_frame", "unpack"]

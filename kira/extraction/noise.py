"""Which pixels can be used, and how noisy each of them is."""

import math

import numpy as np
import numpy.typing as npt

from kira.extraction.measuring import Bools
from kira.frames import Frame

Image = npt.NDArray[np.float32]

FLOOR = 0.25
"""Least variance of a pixel, in units of the background's: a deep minus of the noise is no lack of it."""


LARGEST = 1e15
"""Of a pixel's value, in any unit: the squares of all of a frame still have a sum in float32. SEP 1.4.1
ended in its deblending, with a segmentation fault, at a frame with numbers near float32's largest, 3e38."""


def without_value(data: Image) -> Bools:
    """Pixels whose number is none, or larger than anything that can be measured: bool, shape of `data`."""
    none: Bools = ~(np.abs(data) <= LARGEST)
    return none


def unusable(frame: Frame) -> Bools:
    """Pixels that the frame masks, or that have no value, or whose noise is none.

    Returns
    -------
    numpy.ndarray of bool, shape (rows, columns)
    """
    mask = without_value(frame.data)
    if frame.mask is not None:
        mask |= frame.mask
    if (noise := frame.noise) is not None:
        mask |= ~(np.isfinite(noise) & (noise > 0))
    return mask


def pixel_noise(frame: Frame, pixels: Image, rms: Image) -> Image:
    """One standard deviation of every pixel, photons of the sources included.

    That is `frame.noise`, where the frame knows it. Where it does not, it is the background's rms and, if the gain is
    known, the photon noise of what is above the background: variance = rms^2 + pixel / gain. The same is SEP's, but for
    single pixels, so that it also holds for weighted sums.

    Parameters
    ----------
    frame : Frame
    pixels : numpy.ndarray of float32, shape (rows, columns)
        Background-subtracted.
    rms : numpy.ndarray of float32, shape (rows, columns)
        Of the background.

    Returns
    -------
    numpy.ndarray of float32, shape (rows, columns)
        In the unit of the frame's pixels.
    """
    if (noise := frame.noise) is not None:
        return noise
    if not (math.isfinite(frame.gain) and frame.gain > 0):
        return rms
    background = rms * rms
    variance = np.maximum(background + pixels / np.float32(frame.gain), np.float32(FLOOR) * background)
    result: Image = np.sqrt(variance, dtype=np.float32)
    return result

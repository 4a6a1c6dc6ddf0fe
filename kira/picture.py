"""A picture of a frame with the sources that were found on it."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.visualization import AsinhStretch, ImageNormalize, ZScaleInterval
from astropy.visualization.wcsaxes import WCSAxes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kira.extraction import Extraction, Flag
from kira.frames import Frame

_INCH = 100
"""Pixels of the picture to an inch; sizes of letters follow from it."""
_DOUBTFUL = (
    Flag.TRUNCATED | Flag.DEBLEND_OVERFLOW | Flag.SINGULAR | Flag.NOT_MEASURED | Flag.MASKED | Flag.NEAR_EDGE
    | Flag.APERTURE_TRUNCATED | Flag.APERTURE_MASKED | Flag.APERTURE_ALL_MASKED | Flag.APERTURE_NON_POSITIVE
)  # fmt: skip
"""Bits that say that a number of the source is not to be trusted; that it was blended is not one of them."""
_KINDS = (("good", "#37d67a"), ("doubtful", "#ffb000"), ("saturated", "#ff4d4d"))
_LEAST_AXIS = 2.0


def kinds_of(table: npt.NDArray[np.void]) -> npt.NDArray[np.int_]:
    """0 for a good source, 1 for one with a flag that makes its numbers doubtful, 2 for a saturated one."""
    names = table.dtype.names or ()
    flags = np.zeros(len(table), dtype=np.int64)
    for name in ("flags", "flags_auto", "flag_extract", "flag_kron", "flag_ellipse"):
        if name in names:
            flags |= table[name].astype(np.int64)
    return np.where(flags & Flag.SATURATED, 2, np.where(flags & _DOUBTFUL, 1, 0))


def ellipses_of(table: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Full axes in pixels of the ellipses within which the fluxes were measured; 6 rms where they were not."""
    names = table.dtype.names or ()
    scale = table["auto_scale"] if "auto_scale" in names else 2.5 * table["kron_radius"]
    scale = np.where(np.isfinite(scale) & (scale > 0), scale, 3.0)
    axes = (np.maximum(2 * scale * np.nan_to_num(table[name]), _LEAST_AXIS) for name in ("a", "b"))
    major, minor = axes
    return major, minor


def draw(frame: Frame, extraction: Extraction, *, width: int = 1600) -> bytes:
    """Draw a frame, zscaled, with a grid of right ascension and declination and an ellipse around each source.

    Parameters
    ----------
    frame : Frame
    extraction : Extraction
    width : int, optional
        Of the picture, pixels.

    Returns
    -------
    bytes
        PNG; the same for the same frame and sources.
    """
    rows, columns = frame.shape
    figure = Figure(figsize=(width / _INCH, width / _INCH * (rows / columns + 0.1)), dpi=_INCH, layout="constrained")
    axes: Any
    if frame.wcs is None:
        axes = figure.add_subplot()
        axes.set(xlabel="x [pix]", ylabel="y [pix]")
    else:
        axes = figure.add_subplot(axes_class=WCSAxes, wcs=frame.wcs)
        axes.coords.grid(color="white", alpha=0.35, linewidth=0.6)
        for number, name in enumerate(("Right ascension (ICRS)", "Declination (ICRS)")):
            axes.coords[number].set_axislabel(name)
    usable = frame.data[np.isfinite(frame.data)]
    norm = ImageNormalize(usable, interval=ZScaleInterval(), stretch=AsinhStretch(0.3), clip=True)
    axes.imshow(frame.data, origin="lower", cmap="gray", norm=norm, interpolation="antialiased")
    _draw_sources(axes, extraction.table)
    what = frame.name + (" (synthetic)" if frame.synthetic else "")
    axes.set_title(f"{what}: {extraction.n_sources:,} sources", fontsize=14)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(-0.5, rows - 0.5))
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None, "Description": what})
    return out.getvalue()


def _draw_sources(axes: Any, table: npt.NDArray[np.void]) -> None:
    kinds, (major, minor) = kinds_of(table), ellipses_of(table)
    legend = []
    for kind, (name, colour) in enumerate(_KINDS):
        chosen = kinds == kind
        if not chosen.any():
            continue
        axes.add_collection(
            EllipseCollection(
                major[chosen], minor[chosen], np.degrees(np.nan_to_num(table["theta"][chosen])), units="xy",
                offsets=np.column_stack([table["x"][chosen], table["y"][chosen]]), offset_transform=axes.transData,
                facecolors="none", edgecolors=colour, linewidths=0.9,
            )
        )  # fmt: skip
        legend.append(Line2D([], [], color=colour, label=f"{name} ({int(chosen.sum()):,})"))
    if legend:
        axes.legend(handles=legend, loc="upper right", framealpha=0.8)

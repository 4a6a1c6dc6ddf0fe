"""Plots of a validated batch, as PNG: made where somebody asks for them."""

import io
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from kira.extraction.flags import Flag
from kira.sdss import BANDS, Band
from kira.validation.batch import Batch
from kira.validation.comparison import Compared, Comparisons, magnitudes, nearest_of, plane, recoveries

Floats = npt.NDArray[np.float64]

_COLOURS: dict[Band, str] = {"u": "#7b3fb0", "g": "#2f8f46", "r": "#d23c2a", "i": "#f0a000", "z": "#303030"}
_DPI = 80
_MOST_POINTS = 2_000
"""Of a panel; more are not drawn, but a choice of them, always the same."""
_SEED = 1
_FRAME_DEGREES = 2048 * 1361 * (0.396 / 3600) ** 2
"""Square degrees that a frame adds to its run."""
_POINT_LIKE = 0.05
_STAR_ERROR = 0.05


def plots(comparisons: Comparisons, *, synthetic: bool = False) -> dict[str, bytes]:
    """Draw a batch.

    Parameters
    ----------
    comparisons : Comparisons
        See `kira.validation.examine`.
    synthetic : bool, optional
        Whether the frames were simulated; every title says so then.

    Returns
    -------
    dict
        PNG by what it shows, the same for the same batch. What needs a reference, magnitudes or several bands is left
        out where there are none. Panels of many points show a choice of them, and say so.
    """
    made: dict[str, Callable[[Comparisons], tuple[Figure, str] | None]] = {
        "Offsets from the reference": _offsets, "Zero-point against magnitude": _zero_points,
        "Completeness against magnitude": _completeness, "Number counts": _number_counts, "Star locus": _locus,
        "Sky, noise and sources by frame": _by_frame, "Flags": _flags,
    }  # fmt: skip
    found = {}
    for name, draw in made.items():
        drawn = draw(comparisons)
        if drawn is None:
            continue
        figure, note = drawn
        title = f"{name}{' (synthetic frames)' if synthetic else ''}"
        figure.suptitle(f"{title}\n{note}" if note else title, fontsize=11)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None, "Description": title})
        found[name] = out.getvalue()
    return found


def _figure(columns: int, rows: int = 1, height: float = 3.2) -> tuple[Figure, Any]:
    figure = Figure(figsize=(max(2.9 * columns, 6.0), height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _some(*columns: Any) -> tuple[list[Any], bool]:
    """Points to draw, all or a choice; and whether it is a choice."""
    n = len(columns[0])
    if n <= _MOST_POINTS:
        return list(columns), False
    chosen = np.sort(np.random.default_rng(_SEED).choice(n, _MOST_POINTS, replace=False))
    return [column[chosen] for column in columns], True


def _note(chosen: bool) -> str:
    return f"{_MOST_POINTS:,} points a panel, chosen at random; histograms and medians are of all" if chosen else ""


def _joined(frames: Iterable[Compared], values: Callable[[Compared], Any]) -> Floats:
    return np.concatenate([values(one) for one in frames])


def _offsets(comparisons: Comparisons) -> tuple[Figure, str] | None:
    bands = {band: frames for band, frames in comparisons.bands.items()
             if np.isfinite(_joined(frames, lambda one: one.east)).any()}  # fmt: skip
    if not bands:
        return None
    figure, axes = _figure(len(bands), 2, 2.9)
    some = False
    for k, (band, frames) in enumerate(bands.items()):
        east, north = _joined(frames, lambda one: one.east), _joined(frames, lambda one: one.north)
        good = np.isfinite(east)
        east, north = east[good], north[good]
        centre = float(np.median(east)), float(np.median(north))
        (x, y), chosen = _some(east, north)
        some |= chosen
        top, below = axes[0, k], axes[1, k]
        top.plot(x, y, ".", color=_COLOURS[band], markersize=3, alpha=0.5)
        top.plot(*centre, "+", color="black", markersize=14)
        reach = max(0.5, abs(centre[0]) + 0.5, abs(centre[1]) + 0.5)
        top.set(
            xlim=(-reach, reach), ylim=(-reach, reach), title=f"{band}: {len(east):,} sources", xlabel="east [arcsec]"
        )
        for line in (top.axhline, top.axvline):
            line(0, color="grey", linewidth=0.6)
        edges = np.linspace(-reach, reach, 61)
        for values, style, name in ((east, "-", "east"), (north, "--", "north")):
            text = f"{name} {np.median(values):+.3f}"
            below.stairs(np.histogram(values, edges)[0], edges, color=_COLOURS[band], linestyle=style, label=text)
        below.set(xlabel="offset [arcsec]")
        below.legend(fontsize=7)
    axes[0, 0].set_ylabel("north [arcsec]")
    axes[1, 0].set_ylabel("sources")
    return figure, _note(some)


def _zero_points(comparisons: Comparisons) -> tuple[Figure, str] | None:
    bands = {band: frames for band, frames in comparisons.bands.items()
             if np.isfinite(_joined(frames, lambda one: one.difference)).any()}  # fmt: skip
    if not bands:
        return None
    figure, axes = _figure(len(bands))
    some, limits = False, comparisons.batch.thresholds
    for axis, (band, frames) in zip(axes[0], bands.items(), strict=True):
        difference = _joined(frames, lambda one: one.difference)
        compared = [one.reference.magnitudes[band][np.isfinite(one.difference)] for one in frames
                    if np.isfinite(one.difference).any()]  # fmt: skip
        magnitude, difference = np.concatenate(compared), difference[np.isfinite(difference)]
        median = float(np.median(difference))
        (x, y), chosen = _some(magnitude, difference)
        some |= chosen
        axis.plot(x, np.clip(y, median - 0.5, median + 0.5), ".", color=_COLOURS[band], markersize=3, alpha=0.6)
        axis.axhline(median, color="black", linewidth=0.9)
        for edge in (-limits.warn_zero_point, limits.warn_zero_point):
            axis.axhline(edge, color="grey", linewidth=0.6, linestyle=":")
        axis.set(title=f"{band}: {median:+.3f} ({len(difference):,})", xlabel="reference [mag]",
                 ylim=(median - 0.5, median + 0.5))  # fmt: skip
    axes[0, 0].set_ylabel(f"{comparisons.column} - reference [mag]")
    return figure, _note(some)


def _completeness(comparisons: Comparisons) -> tuple[Figure, str] | None:
    figure, ((axis,),) = _figure(1, height=3.8)
    drawn = False
    for band, frames in comparisons.bands.items():
        bins = [one for one in recoveries(frames, band) if one.there >= 5]
        if not bins:
            continue
        drawn = True
        part = np.array([one.fraction for one in bins])
        error = np.sqrt(part * (1 - part) / [one.there for one in bins])
        middle = [(one.brighter + one.fainter) / 2 for one in bins]
        axis.errorbar(middle, part, error, color=_COLOURS[band], marker="o", markersize=3, label=band)
        axis.axvline(comparisons.batch.thresholds.limits[band], color=_COLOURS[band], linewidth=0.7, linestyle=":")
    if not drawn:
        return None
    axis.set(xlabel="magnitude of the reference", ylabel="part of its stars that is found", ylim=(-0.03, 1.05))
    axis.legend(title="dotted: limit", fontsize=8)
    return figure, ""


def _number_counts(comparisons: Comparisons) -> tuple[Figure, str] | None:
    batch = comparisons.batch
    name = "flux_auto" if batch.survey else "flux_ellipse"
    if not batch.survey and any(e.frame.release.number < 8 for e in batch.expected):
        return None  # counts, of which there is no magnitude
    figure, ((axis,),) = _figure(1, height=3.8)
    edges = np.arange(12.0, 26.01, 0.5)
    middle, drawn = (edges[1:] + edges[:-1]) / 2, False
    for k, band in enumerate(BANDS):
        flux = batch.column(name)[batch.row_bands == k]
        flux = flux[flux > 0]
        if not len(flux):
            continue
        drawn = True
        area = int((batch.bands == k).sum()) * _FRAME_DEGREES
        counted = np.histogram(22.5 - 2.5 * np.log10(flux), edges)[0] / area / 0.5
        axis.plot(middle, np.where(counted > 0, counted, np.nan), "o-", color=_COLOURS[band], markersize=3, label=band)
    if not drawn:
        return None
    axis.set(xlabel=f"{name} [mag]", ylabel="sources a square degree and magnitude", yscale="log")
    axis.legend(fontsize=8)
    return figure, ""


def _locus(comparisons: Comparisons) -> tuple[Figure, str] | None:
    g_r, r_i = star_colours(comparisons)
    if not len(g_r):
        return None
    figure, ((axis,),) = _figure(1, height=4.6)
    (x, y), some = _some(g_r, r_i)
    theirs = [one.reference[one.reference.is_star & one.reference.counted & one.bright]
              for one in comparisons.bands.get("r", ()) if set("gri") <= set(one.reference.magnitudes)]  # fmt: skip
    if theirs:
        m = {band: np.concatenate([one.magnitudes[band] for one in theirs]) for band in ("g", "r", "i")}
        (u, v), chosen = _some(m["g"] - m["r"], m["r"] - m["i"])
        some |= chosen
        axis.plot(u, v, ".", color="#c0c0c0", markersize=3, label="stars of the reference")
    axis.plot(x, y, ".", color="#1f5fa8", markersize=3, alpha=0.7, label=f"point-like sources ({len(g_r):,})")
    axis.set(xlabel="g - r", ylabel="r - i", xlim=(-0.7, 2.2), ylim=(-0.7, 2.5))
    axis.legend(fontsize=8)
    return figure, _note(some)


def star_colours(comparisons: Comparisons) -> tuple[Floats, Floats]:
    """Colours g - r and r - i of bright point-like sources without flags, bands matched on the sky.

    Parameters
    ----------
    comparisons : Comparisons

    Returns
    -------
    g_r, r_i : numpy.ndarray of float64, shape (n,)
        Empty where there are not the three bands of any field, or no magnitudes.
    """
    batch = comparisons.batch
    name, empty = comparisons.column, np.empty(0)
    if not name:
        return empty, empty
    fields: dict[tuple[object, ...], dict[str, int]] = defaultdict(dict)
    for i, e in enumerate(batch.expected):
        f = e.frame
        fields[f.release, f.run, f.rerun, f.camcol, f.field][f.band] = i
    found = [_colours_of(batch, bands, name) for bands in fields.values() if set("gri") <= set(bands)]
    if not found:
        return empty, empty
    return np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])


def _colours_of(batch: Batch, bands: dict[str, int], name: str) -> tuple[Floats, Floats]:
    stars = {band: _stars(batch, bands[band], name) for band in "gri"}
    if any(not len(rows) for rows in stars.values()):
        return np.empty(0), np.empty(0)
    ra, dec = batch.column("ra"), batch.column("dec")
    middle = float(ra[stars["r"][0]]), float(dec[stars["r"][0]])
    on_plane = {band: plane(ra[rows], dec[rows], middle) for band, rows in stars.items()}
    which = {band: nearest_of(on_plane["r"], on_plane[band], batch.thresholds.match_radius)[0] for band in "gi"}
    both = (which["g"] >= 0) & (which["i"] >= 0)
    rows = {"r": stars["r"][both], **{band: stars[band][which[band][both]] for band in "gi"}}
    magnitude = {band: magnitudes(batch, chosen, name)[0] for band, chosen in rows.items()}
    return magnitude["g"] - magnitude["r"], magnitude["r"] - magnitude["i"]


def _stars(batch: Batch, frame: int, name: str) -> npt.NDArray[np.int64]:
    """Rows of a frame that are bright points without flags, other than those of blends."""
    rows = batch.rows_of(frame)
    magnitude, error = magnitudes(batch, rows, name)
    good = np.isfinite(magnitude) & (error < _STAR_ERROR)
    good &= (batch.flags[rows] & int(~Flag.MERGED & ~Flag.NEIGHBOURS)) == 0
    if batch.survey:
        good &= batch.column("point_like")[rows] > _POINT_LIKE
    chosen: npt.NDArray[np.int64] = rows[np.flatnonzero(good)]
    return chosen


def _by_frame(comparisons: Comparisons) -> tuple[Figure, str] | None:
    batch = comparisons.batch
    if not batch.expected:
        return None
    figure, axes = _figure(1, 3, 2.3)
    some = False
    kinds = (("background", [e.background for e in batch.expected]), ("rms", [e.rms for e in batch.expected]),
             ("sources", batch.counts))  # fmt: skip
    for (name, values), axis in zip(kinds, axes[:, 0], strict=True):
        for k, band in enumerate(BANDS):
            chosen = np.flatnonzero(batch.bands == k)
            (x, y), part = _some(np.arange(len(chosen)), np.asarray(values, dtype=float)[chosen])
            some |= part
            axis.plot(x, y, ".", color=_COLOURS[band], markersize=4, label=band if len(chosen) else None)
        axis.set_ylabel(name)
    axes[1, 0].set_yscale("log")
    axes[2, 0].set_yscale("symlog")
    axes[0, 0].legend(fontsize=7, ncols=5)
    for axis in axes[:, 0]:
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[2, 0].set_xlabel("frames of the band, in their order")
    return figure, _note(some)


def _flags(comparisons: Comparisons) -> tuple[Figure, str] | None:
    batch = comparisons.batch
    bands = [(k, band) for k, band in enumerate(BANDS) if (batch.row_bands == k).any()]
    flags = [flag for flag in Flag if ((batch.flags & int(flag)) != 0).any()]
    if not bands or not flags:
        return None
    figure, ((axis,),) = _figure(1, height=max(2.5, 0.9 + 0.32 * len(flags)))
    height = 0.8 / len(bands)
    for n, (k, band) in enumerate(bands):
        rows = batch.flags[batch.row_bands == k]
        parts = [float(((rows & int(flag)) != 0).mean()) for flag in flags]
        axis.barh(np.arange(len(flags)) + n * height, parts, height, color=_COLOURS[band], label=band)
    axis.set_yticks(np.arange(len(flags)) + 0.4, [str(flag.name) for flag in flags], fontsize=7)
    axis.set(xlabel="part of the sources of the band")
    axis.legend(fontsize=7)
    return figure, ""

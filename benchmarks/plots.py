"""Plots of a report, from its plain values."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt


def draw(plot: dict[str, Any], folder: Path) -> str:
    """Draw one plot.

    Parameters
    ----------
    plot : dict
        A `Bars` or `Lines` of `benchmarks.scenario`, as plain values.
    folder : Path

    Returns
    -------
    str
        Name of the PNG file in the folder.
    """
    bars = plot["kind"] == "Bars"
    height = 1.2 + 0.45 * len(plot["values"]) if bars else 4.2
    figure, axes = plt.subplots(figsize=(7.5, height), layout="constrained")
    try:
        (_bars if bars else _lines)(axes, plot)
        axes.set_title(plot["title"])
        axes.spines[["top", "right"]].set_visible(False)
        name = f"{plot['name']}.png"
        figure.savefig(folder / name, dpi=110, metadata={"Software": None})
    finally:
        plt.close(figure)
    return name


def _bars(axes: Any, plot: dict[str, Any]) -> None:
    names = list(plot["values"])[::-1]
    middles = [plot["values"][name][0] for name in names]
    errors = [
        [middle - plot["values"][name][1] for name, middle in zip(names, middles, strict=True)],
        [plot["values"][name][2] - middle for name, middle in zip(names, middles, strict=True)],
    ]
    colours = ["tab:blue" if name.startswith("Kira") else "silver" for name in names]
    axes.barh(names, middles, xerr=errors, color=colours, capsize=3)
    for i, middle in enumerate(middles):
        axes.annotate(f" {middle:.3g}", (0, i), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    if min(middles) > 0 and max(middles) > 50 * min(middles):
        axes.set_xscale("log")
    axes.set_xlabel(plot["unit"] + ": median, least and most")
    if plot.get("limit") is not None:
        axes.axvline(plot["limit"], color="tab:red", linestyle="--")


def _lines(axes: Any, plot: dict[str, Any]) -> None:
    for name, points in plot["lines"].items():
        x, middle, least, most = zip(*points, strict=True)
        errors = [
            [m - a for m, a in zip(middle, least, strict=True)],
            [b - m for m, b in zip(middle, most, strict=True)],
        ]
        axes.errorbar(x, middle, yerr=errors, marker="o", capsize=3, label=name)
    if plot["log"]:
        axes.set_xscale("log")
    ticks = sorted({point[0] for points in plot["lines"].values() for point in points})
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(plot["x_label"])
    axes.set_ylabel(plot["y_label"])
    axes.legend(frameon=False)

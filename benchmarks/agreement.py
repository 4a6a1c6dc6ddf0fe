"""Proofs that contenders do the same work; nothing is timed before they hold."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from benchmarks import sextractor
from benchmarks.frames import FrameFile
from benchmarks.work import Sep, engines, with_engine
from kira.catalog import digest, read_parts
from kira.extraction import Profile, SurveyProfile, extract
from kira.frames import Frame, read_frame

Floats = npt.NDArray[np.float64]
NEAR = 0.5
"""Pixels within which two positions are of one source."""


class Disagreement(Exception):
    """Two contenders do not do the same work; the text says in what."""


@dataclass(frozen=True)
class Limits:
    """How far two catalogues may differ.

    Parameters
    ----------
    counts : float
        Difference of the numbers of sources, and sources without a counterpart, relative; two may always differ.
    within : float
        Relative difference of a quantity that counts as equal.
    share : float
        Least part of the clean sources that must be equal.
    """

    counts: float
    within: float
    share: float


TO_SEXTRACTOR = Limits(counts=0.005, within=1e-3, share=0.95)
"""SExtractor counts a cleaned source's pixels to its neighbour, which changes the neighbour's shape and fluxes."""
BETWEEN_ENGINES = Limits(counts=0.002, within=1e-3, share=0.99)


@dataclass(frozen=True)
class Proof:
    """A comparison that held.

    Parameters
    ----------
    what : str
    sources : tuple of int
        In the one and in the other.
    matched : float
        Part of the one that has a counterpart.
    equal : dict of str to float
        Part of the clean sources for which a quantity is equal, by its name.
    """

    what: str
    sources: tuple[int, int]
    matched: float = 1.0
    equal: dict[str, float] = field(default_factory=dict)

    def text(self) -> str:
        """In one line."""
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.equal.items())
        return f"{self.what}: {self.sources[0]} and {self.sources[1]} sources, {self.matched:.2%} matched" + (
            f"; equal: {shares}" if shares else ""
        )


@dataclass(frozen=True)
class Catalogue:
    """What is compared of one contender's catalogue.

    Parameters
    ----------
    x, y : ndarray
        Barycentres, from 0.
    clean : ndarray of bool
        Without a flag.
    values : dict of str to ndarray
    """

    x: Floats
    y: Floats
    clean: npt.NDArray[np.bool_]
    values: dict[str, Floats]


def compare(what: str, one: Catalogue, other: Catalogue, limits: Limits) -> Proof:
    """Hold two catalogues of the same frame against each other.

    Raises
    ------
    Disagreement
        If they differ by more than the limits.
    """
    n, m = len(one.x), len(other.x)
    most = max(2.0, limits.counts * n)
    if not n or not m or abs(n - m) > most:
        raise Disagreement(f"{what}: {n} and {m} sources, where at most {most:.0f} may be missing.")
    index, distance = nearest(one, other)
    matched = distance < NEAR
    if (~matched).sum() > most:
        raise Disagreement(f"{what}: {(~matched).sum()} of {n} sources have no counterpart within {NEAR} pixels.")
    clean = matched & one.clean & other.clean[index]
    equal = {}
    for name in one.values.keys() & other.values.keys():
        difference = _relative(one.values[name][clean], other.values[name][index][clean])
        equal[name] = float((difference <= limits.within).mean()) if len(difference) else 1.0
        # A handful of clean sources must not fail by the one that is beside a cleaned neighbour.
        if (difference > limits.within).sum() > max(2, (1 - limits.share) * len(difference)):
            raise Disagreement(
                f"{what}: {name} is equal within {limits.within:g} for {equal[name]:.1%} of the clean sources, where "
                f"it should be for {limits.share:.0%}."
            )
    return Proof(what, (n, m), float(matched.mean()), dict(sorted(equal.items())))


def nearest(one: Catalogue, other: Catalogue) -> tuple[npt.NDArray[np.int64], Floats]:
    """Nearest of the other for each of the one, and how far it is."""
    index, distance = [], []
    for begin in range(0, len(one.x), 500):
        part = slice(begin, begin + 500)
        apart = np.hypot(one.x[part, None] - other.x, one.y[part, None] - other.y)
        index.append(apart.argmin(axis=1))
        distance.append(apart.min(axis=1))
    return np.concatenate(index), np.concatenate(distance)


def _relative(one: Floats, other: Floats) -> Floats:
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = np.abs((one - other) / other)
    return np.where(same, 0.0, np.nan_to_num(difference, nan=np.inf))


# -- catalogues of the contenders


def of_kira(frame: Frame, profile: Profile) -> Catalogue:
    """Kira's, by the names of its own columns."""
    table = extract(frame, profile).table
    if isinstance(profile, SurveyProfile):
        values = {"AUTO": table["flux_auto"], "ISO": table["flux_iso"]}
        values |= {name: table[name] for name in ("r20", "r50", "r80", "fluxerr_auto")}
        values |= {f"circle {i + 1}": table["flux_aper"][:, i] for i in range(len(profile.apertures))}
        values["window"] = table["x_win"]
        clean = table["flags"] == 0
    else:
        values = {"AUTO": table["flux_ellipse"], "ISO": table["flux"], "circle 1": table["flux_circle"]}
        clean = table["flag_extract"] == 0
    return Catalogue(table["x"], table["y"], clean, values)


def of_sextractor(table: Any, profile: Profile) -> Catalogue:
    """source-extractor's; its pixels count from 1. Its errors are of another noise and are not compared."""
    values = {"AUTO": table["FLUX_AUTO"], "ISO": table["FLUX_ISO"]}
    circles = table["FLUX_APER"].reshape(len(table), -1)
    values |= {f"circle {i + 1}": circles[:, i] for i in range(circles.shape[1])}
    if isinstance(profile, SurveyProfile):
        values |= {name: table["FLUX_RADIUS"][:, i] for i, name in enumerate(("r20", "r50", "r80"))}
        values["window"] = table["XWIN_IMAGE"].astype(np.float64) - 1
    values = {name: value.astype(np.float64) for name, value in values.items()}
    return Catalogue(table["X_IMAGE"] - 1, table["Y_IMAGE"] - 1, table["FLAGS"] == 0, values)


def of_sep(file: FrameFile, profile: Profile) -> Catalogue:
    """That of the sep wheel by hand."""
    table = Sep(profile)(file)
    columns = {name: table[name].to_numpy() for name in ("x", "y", "flux", "flux_auto", "flux_aper_1", "flag")}
    values = {"ISO": columns["flux"], "AUTO": columns["flux_auto"]}
    return Catalogue(columns["x"], columns["y"], columns["flag"] == 0, values)


# -- proofs


def prove(files: Iterable[FrameFile], profile: Profile, folder: Path) -> list[Proof]:
    """Prove for each frame that Kira's engines, source-extractor and sep by hand find and measure the same.

    Kira is told to do what SExtractor can do, see `benchmarks.sextractor.like_sextractor`; the engines are also held
    against each other as the profile is.

    Raises
    ------
    Disagreement
    """
    proofs = []
    for file in files:
        frame = read_frame(file.path.read_bytes(), file.frame)
        alike = sextractor.like_sextractor(profile)
        known = {engine: of_kira(frame, with_engine(alike, engine)) for engine in engines()}
        name = f"{file.frame}, {profile.kind}"
        if sextractor.is_installed():
            configured = sextractor.Configured.write(folder / "proof", profile, frame.pixel_scale)
            theirs = of_sextractor(configured.measure(file.path), profile)
            proofs += [
                compare(f"{name}: Kira ({engine}) and source-extractor", one, theirs, TO_SEXTRACTOR)
                for engine, one in known.items()
            ]
        proofs.append(
            compare(f"{name}: Kira (sep) and sep by hand", known["sep"], of_sep(file, profile), TO_SEXTRACTOR)
        )
        as_it_is = [of_kira(frame, with_engine(profile, engine)) for engine in engines()]
        proofs += [
            compare(f"{name}: Kira ({engine}) and Kira (sep)", one, as_it_is[0], BETWEEN_ENGINES)
            for engine, one in zip(engines()[1:], as_it_is[1:], strict=True)
        ]
    return proofs


def prove_tables(what: str, one: Iterable[bytes], other: Iterable[bytes]) -> Proof:
    """Prove that the Parquet files of two contenders hold the same rows, to the last bit.

    Raises
    ------
    Disagreement
    """
    tables = [read_parts(parts) for parts in (one, other)]
    rows = tables[0].num_rows, tables[1].num_rows
    if digest(tables[0]) != digest(tables[1]):
        raise Disagreement(f"{what}: {rows[0]} and {rows[1]} rows, and they are not the same.")
    return Proof(f"{what}, every column to the last bit", rows)


def rows_of(content: bytes) -> int:
    """Rows of a Parquet file."""
    return int(pq.ParquetFile(io.BytesIO(content)).metadata.num_rows)

"""What a worker of a process pool does with one frame, for each of the contenders that are Python."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import sep

from benchmarks.frames import FrameFile
from kira import __version__
from kira.catalog import file_metadata, parquet_bytes, source_table
from kira.extraction import Parameters, Profile, SurveyProfile, extract
from kira.frames import read_frame, unpack
from kira.sample.spec import LAST_SURVEY_RUN

Work = Callable[[FrameFile], pa.Table]
SCALE = 0.396
"""Arcsec a pixel."""


def engines() -> tuple[str, ...]:
    """Engines that a profile can be measured by; the last is the one that is meant by "our engine"."""
    return ("sep", "fast") if any(field.name == "engine" for field in fields(Profile)) else ("sep",)


def with_engine(profile: Profile, engine: str) -> Profile:
    """Return the profile with an engine chosen; as it is where there is only one."""
    return replace(profile, engine=engine) if len(engines()) > 1 else profile  # type: ignore[call-arg]


@dataclass(frozen=True)
class Kira:
    """Kira's own reader, extraction and rows.

    Parameters
    ----------
    profile : Profile
    """

    profile: Profile

    def __call__(self, file: FrameFile) -> pa.Table:
        """Rows of the catalogue for one frame."""
        frame = read_frame(_plain(file.path), file.frame)
        return source_table(frame, extract(frame, self.profile), self.profile)

    def write(self, tables: list[pa.Table], path: Path) -> None:
        """Write as the Spark job writes."""
        table = pa.concat_tables(tables)
        synthetic = any(run > LAST_SURVEY_RUN for run in table["run"].unique().to_pylist())
        metadata = file_metadata(self.profile, version=__version__, synthetic=synthetic)
        path.write_bytes(parquet_bytes(table, metadata=metadata))


def _plain(path: Path) -> bytes:
    content = path.read_bytes()
    return unpack(content, path.name) if path.suffix in (".gz", ".bz2") else content


class ByHand:
    """What has no catalogue of its own: its columns as they are."""

    def write(self, tables: list[pa.Table], path: Path) -> None:
        """Write a plain Parquet file."""
        import pyarrow.parquet as pq

        pq.write_table(pa.concat_tables(tables), path, compression="zstd")


@dataclass(frozen=True)
class Sep(ByHand):
    """The sep wheel as its documentation has it, without Kira: one noise for all pixels.

    Parameters
    ----------
    profile : Profile
    """

    profile: Profile

    def __call__(self, file: FrameFile) -> pa.Table:
        """Table of one frame."""
        profile, (data, to_sky) = self.profile, _with_astropy(file.path)
        background = sep.Background(
            data, bw=profile.mesh, bh=profile.mesh, fw=profile.mesh_filter, fh=profile.mesh_filter
        )
        background.subfrom(data)
        sep.set_extract_pixstack(profile.pixstack)
        sep.set_sub_object_limit(profile.sub_object_limit)
        found, _ = sep.extract(
            data, profile.threshold, err=background.globalrms, minarea=profile.minarea,
            filter_kernel=np.array(profile.kernel), filter_type="conv", deblend_nthresh=profile.deblend_levels,
            deblend_cont=profile.deblend_contrast, clean=profile.clean > 0, clean_param=profile.clean or 1.0,
            segmentation_map=True,
        )  # fmt: skip
        columns: dict[str, Any] = {name: found[name] for name in found.dtype.names}
        columns |= _measured_by_sep(data, background.globalrms, found, profile)
        columns["ra"], columns["dec"] = to_sky(found["x"], found["y"])
        columns["frame"] = np.repeat(str(file.frame), len(found))
        return pa.table(columns)


def _measured_by_sep(data: Any, rms: float, found: Any, profile: Profile) -> dict[str, Any]:
    x, y, a, b = (found[name] for name in "xyab"[:4])
    theta = np.clip(found["theta"], -np.pi / 2, np.pi / 2)
    if isinstance(profile, SurveyProfile):
        radii, factor, least, subpix = (
            [one / SCALE for one in profile.apertures], profile.kron_factor, profile.kron_minimum, profile.kron_subpix,
        )  # fmt: skip
        circle_subpix = profile.aperture_subpix
    elif isinstance(profile, Parameters):
        radii, factor, least, subpix = [profile.circle_radius], profile.kron_factor, 0.0, profile.ellipse_subpix
        circle_subpix = profile.circle_subpix
    else:
        raise TypeError(type(profile).__name__)
    columns: dict[str, Any] = {}
    kron, columns["flag_kron"] = sep.kron_radius(data, x, y, a, b, theta, 6.0)
    kron = np.maximum(np.nan_to_num(factor * kron), max(least, 1e-3))
    columns["flux_auto"], columns["fluxerr_auto"], columns["flag_auto"] = sep.sum_ellipse(
        data, x, y, a, b, theta, kron, err=rms, subpix=subpix
    )
    for i, radius in enumerate(radii, 1):
        flux, error, flag = sep.sum_circle(data, x, y, radius, err=rms, subpix=circle_subpix)
        columns |= {f"flux_aper_{i}": flux, f"fluxerr_aper_{i}": error, f"flag_aper_{i}": flag}
    if isinstance(profile, SurveyProfile):
        light, columns["flag_radius"] = sep.flux_radius(
            data, x, y, 6.0 * a, [0.2, 0.5, 0.8], normflux=columns["flux_auto"], subpix=5
        )
        columns |= dict(zip(("r20", "r50", "r80"), light.T, strict=True))
        sigma = 2.0 / 2.35 * np.clip(np.nan_to_num(light[:, 1], nan=1.0), 0.5, None)
        columns["x_win"], columns["y_win"], columns["flag_win"] = sep.winpos(data, x, y, sigma)
    return columns


def deblends() -> bool:
    """Whether photutils can deblend: it takes scikit-image's watershed for it."""
    return find_spec("skimage") is not None


@dataclass(frozen=True)
class Photutils(ByHand):
    """photutils, where it has the measurement. Its background, deblending and Kron radius are not SExtractor's.

    Parameters
    ----------
    profile : Profile
    """

    profile: Profile

    def __call__(self, file: FrameFile) -> pa.Table:
        """Table of one frame."""
        from astropy.convolution import convolve
        from astropy.stats import SigmaClip
        from photutils.background import Background2D, SExtractorBackground, StdBackgroundRMS
        from photutils.segmentation import SourceCatalog, deblend_sources, detect_sources

        profile, (data, to_sky) = self.profile, _with_astropy(file.path)
        clip = SigmaClip(3.0, maxiters=10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            background = Background2D(
                data, profile.mesh, filter_size=profile.mesh_filter, sigma_clip=clip,
                bkg_estimator=SExtractorBackground(), bkg_rms_estimator=StdBackgroundRMS(),
            )  # fmt: skip
            data = data - background.background
            rms = background.background_rms_median
            kernel = np.array(profile.kernel) / np.sum(profile.kernel)
            smooth = convolve(data, kernel)
            found = detect_sources(smooth, profile.threshold * rms, profile.minarea)
            if found is None:
                return pa.table({"x": np.empty(0), "frame": np.empty(0, str)})
            if deblends():
                found = deblend_sources(
                    smooth, found, profile.minarea, n_levels=profile.deblend_levels, contrast=profile.deblend_contrast,
                    progress_bar=False,
                )  # fmt: skip
            error = np.full(data.shape, rms, dtype=data.dtype)
            # Keywords of the Kron ellipse: the factor, and the least size in units of the moments.
            sources = SourceCatalog(data, found, convolved_data=smooth, error=error, kron_params=(2.5, 1.4))
            columns = _measured_by_photutils(sources, profile)
        columns["ra"], columns["dec"] = to_sky(columns["x"], columns["y"])
        columns["frame"] = np.repeat(str(file.frame), len(columns["x"]))
        return pa.table(columns)


def _measured_by_photutils(sources: Any, profile: Profile) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "x": sources.x_centroid, "y": sources.y_centroid, "a": sources.semimajor_axis.value,
        "b": sources.semiminor_axis.value, "flux_iso": sources.segment_flux, "fluxerr_iso": sources.segment_flux_err,
        "flux_auto": sources.kron_flux, "fluxerr_auto": sources.kron_flux_err,
    }  # fmt: skip
    if isinstance(profile, SurveyProfile):
        radii = [one / SCALE for one in profile.apertures]
        columns |= {f"r{100 * share:.0f}": sources.flux_radius(share).value for share in (0.2, 0.5, 0.8)}
        columns["x_win"], columns["y_win"] = sources.x_centroid_win, sources.y_centroid_win
    else:
        radii = [profile.circle_radius]  # type: ignore[attr-defined]
    for i, radius in enumerate(radii, 1):
        columns[f"flux_aper_{i}"], columns[f"fluxerr_aper_{i}"] = sources.circular_photometry(radius)
    return columns


def _with_astropy(path: Path) -> tuple[Any, Callable[..., Any]]:
    """Pixels and coordinates, the shortest way."""
    from astropy.io import fits
    from astropy.wcs import WCS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False) as hdus:
            data = np.array(hdus[0].data, dtype=np.float32, order="C")
            wcs = WCS(hdus[0].header, fix=False)
    return data, lambda x, y: wcs.all_pix2world(x, y, 0)

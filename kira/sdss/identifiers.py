"""Identity of a frame, and its names: parsed from text into a type, once, at the border."""

import re
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from kira.errors import InvalidInput
from kira.sdss.quoting import quoted
from kira.sdss.releases import Release, Service

Band = Literal["u", "g", "r", "i", "z"]
BANDS: tuple[Band, ...] = get_args(Band)

_FPC = re.compile(r"fpC-(\d{6})-([ugriz])([1-6])-(\d{4})\.fit(?:\.gz)?", re.ASCII)
_FRAME = re.compile(r"frame-([ugriz])-(\d{6})-([1-6])-(\d{4})\.fits(?:\.bz2)?", re.ASCII)
_TEXT = re.compile(r"(dr\d{1,2})-(\d{1,4})-(\d{6})-([1-6])-(\d{4})-([ugriz])", re.ASCII)
# The order in which each archive nests its folders.
_DAS_PATH = re.compile(r"imaging/(\d+)/(\d+)/corr/([1-6])/([^/]+)", re.ASCII)
_SAS_PATH = re.compile(r"(dr\d{1,2})/.+/photoObj/frames/(\d+)/(\d+)/([1-6])/([^/]+)", re.ASCII)


@dataclass(frozen=True, order=True)
class FrameId:
    """One field in one band: one FITS file, the unit of work.

    The order of the attributes is the order in which frames are processed: neighbours on the sky stay together.

    Parameters
    ----------
    release : Release
    run, rerun : int
        Imaging run (1 to 999999) and its reduction.
    camcol : int
        Camera column, 1 to 6.
    field : int
        Field within the run, 0 to 9999 (SDSS begins at 11).
    band : {"u", "g", "r", "i", "z"}

    Raises
    ------
    InvalidInput
        If a number is out of its range.
    """

    release: Release
    run: int
    rerun: int
    camcol: int
    field: int
    band: Band

    def __post_init__(self) -> None:
        for name, low, high in (("run", 1, 999_999), ("rerun", 0, 9999), ("camcol", 1, 6), ("field", 0, 9999)):
            value = getattr(self, name)
            if not (isinstance(value, int) and low <= value <= high):
                raise InvalidInput(f"A frame's {name} is a number from {low} to {high}, not {value!r}.")
        if self.band not in BANDS:
            raise InvalidInput(f"A frame's band is one of {' '.join(BANDS)}, not {self.band!r}.")

    def __str__(self) -> str:
        """Canonical text form, e.g. `dr12-301-000094-1-0012-r`."""
        return f"{self.release}-{self.rerun}-{self.run:06d}-{self.camcol}-{self.field:04d}-{self.band}"

    @classmethod
    def parse(cls, text: str) -> "FrameId":
        """Read the canonical text form back."""
        match = _TEXT.fullmatch(text)
        if not match:
            raise InvalidInput(f"{quoted(text)} is not a frame; a frame is written like dr12-301-000094-1-0012-r.")
        release, rerun, run, camcol, field, band = match.groups()
        frame = cls(Release.parse(release), int(run), int(rerun), int(camcol), int(field), _band(band))
        if str(frame) != text:  # padded otherwise: a second text for the same frame would be a second key
            raise InvalidInput(f"{text!r} is not the canonical form of a frame; write {frame}.")
        return frame

    @classmethod
    def from_file_name(cls, name: str, release: Release, rerun: int | None = None) -> "FrameId":
        """Read an archive file name, compressed or not.

        Parameters
        ----------
        name : str
            `fpC-004192-r4-0300.fit.gz` (to DR7) or `frame-r-000094-1-0012.fits.bz2` (from DR8).
        release : Release
            File names do not say it.
        rerun : int, optional
            fpC names do not say it either: needed to DR7; 301 from DR8.
        """
        if release.service is Service.DAS:
            if match := _FPC.fullmatch(name):
                run, band, camcol, field = match.groups()
                if rerun is None:
                    raise InvalidInput(f"{name}: the rerun is not part of an fpC file's name; give it.")
                return cls(release, int(run), rerun, int(camcol), int(field), _band(band))
        elif match := _FRAME.fullmatch(name):
            band, run, camcol, field = match.groups()
            return cls(release, int(run), release.reruns[0] if rerun is None else rerun, int(camcol), int(field),
                       _band(band))  # fmt: skip
        raise InvalidInput(f"{quoted(name)} is not the name of a frame of {release}.")

    @classmethod
    def from_archive_path(cls, path: str, release: Release | None = None) -> "FrameId":
        """Read a path below an archive's base, checking that folders and file name agree.

        Parameters
        ----------
        path : str
            As `archive_path` gives it.
        release : Release, optional
            Needed for DAS paths (default DR7), which do not say it.
        """
        if match := _DAS_PATH.fullmatch(path):
            run, rerun, camcol, name = match.groups()
            frame = cls.from_file_name(name, release or Release(7), int(rerun))
        elif match := _SAS_PATH.fullmatch(path):
            in_path, rerun, run, camcol, name = match.groups()
            frame = cls.from_file_name(name, Release.parse(in_path), int(rerun))
        else:
            raise InvalidInput(f"{quoted(path)} is not a frame's path in an SDSS archive.")
        if (frame.run, frame.camcol) != (int(run), int(camcol)):
            raise InvalidInput(f"{quoted(path)}: the folders and the file name speak of different frames.")
        return frame

    @property
    def plain_name(self) -> str:
        """File name of the uncompressed FITS file."""
        if self.release.service is Service.DAS:
            return f"fpC-{self.run:06d}-{self.band}{self.camcol}-{self.field:04d}.fit"
        return f"frame-{self.band}-{self.run:06d}-{self.camcol}-{self.field:04d}.fits"

    @property
    def file_name(self) -> str:
        """File name in the archive."""
        return self.plain_name + (".gz" if self.release.service is Service.DAS else ".bz2")

    @property
    def folder(self) -> str:
        """Folder below the archive's base URL."""
        return frames_folder(self.release, self.run, self.rerun, self.camcol)

    @property
    def archive_path(self) -> str:
        """Path below the archive's base URL."""
        return f"{self.folder}/{self.file_name}"

    @property
    def calibration_path(self) -> str:
        """Path below the archive's base URL of what calibrates the frame (tsField) or lists its objects (photoObj)."""
        run, camcol, field = self.run, self.camcol, self.field
        if self.release.service is Service.DAS:
            return (f"{self.release.root}/{run}/{self.rerun}/calibChunks/{camcol}/"
                    f"tsField-{run:06d}-{camcol}-{self.rerun}-{field:04d}.fit")  # fmt: skip
        return (f"{self.release.root}/photoObj/{self.rerun}/{run}/{camcol}/"
                f"photoObj-{run:06d}-{camcol}-{field:04d}.fits")  # fmt: skip

    @property
    def tsfield_path(self) -> str | None:
        """Path of the field's photometric calibration (tsField) below the archive's base URL; None from DR8 on.

        From DR8 on the calibration is in the frame itself.
        """
        return self.calibration_path if self.release.service is Service.DAS else None

    @property
    def photoobj_path(self) -> str | None:
        """Path of SDSS's own catalogue of the field (photoObj), in all five bands, below the base URL; None to DR7."""
        return None if self.release.service is Service.DAS else self.calibration_path

    @property
    def psfield_path(self) -> str:
        """Path of the field's PSF, gain and dark variance (psField), for all five bands, below the base URL."""
        return f"{self._objects_folder}/psField-{self.run:06d}-{self.camcol}-{self.field:04d}.fit"

    @property
    def mask_path(self) -> str:
        """Path of the frame's mask of interpolated, saturated and other pixels (fpM) below the base URL.

        From DR8 on it is compressed.
        """
        compressed = "" if self.release.service is Service.DAS else ".gz"
        name = f"fpM-{self.run:06d}-{self.band}{self.camcol}-{self.field:04d}.fit{compressed}"
        return f"{self._objects_folder}/{name}"

    @property
    def _objects_folder(self) -> str:
        """Folder of what photo, SDSS's photometric pipeline, wrote about the objects of a camera column of a run."""
        if self.release.service is Service.DAS:
            return f"{self.release.root}/{self.run}/{self.rerun}/objcs/{self.camcol}"
        return f"{self.release.root}/photo/redux/{self.rerun}/{self.run}/objcs/{self.camcol}"

    @property
    def staged_path(self) -> str:
        """Path of the frame below the staging root; see `kira.frames.staged` for what is in it."""
        return f"{self.release.service}/{self.folder}/{self.plain_name}.blosc"

    @property
    def pixel_bytes(self) -> int:
        """Length of a pixel in the frame's file: whole counts in fpC files, floating point in others."""
        return 2 if self.release.service is Service.DAS else 4


def frames_folder(release: Release, run: int, rerun: int, camcol: int) -> str:
    """Folder of the frames of one camera column of one run, below the archive's base URL."""
    if release.service is Service.DAS:
        return f"{release.frames_root}/{run}/{rerun}/corr/{camcol}"
    return f"{release.frames_root}/{rerun}/{run}/{camcol}"


def _band(text: str) -> Band:
    for band in BANDS:
        if band == text:
            return band
    raise InvalidInput(f"A frame's band is one of {' '.join(BANDS)}, not {text!r}.")


def frame_columns(frame: FrameId) -> dict[str, Any]:
    """Attributes of a frame as plain values, the release as its name: a row for a table."""
    return {f.name: str(frame.release) if f.name == "release" else getattr(frame, f.name) for f in fields(frame)}

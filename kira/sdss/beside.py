"""What an archive may hold beside a frame, and where."""

from enum import StrEnum

from kira.sdss.identifiers import FrameId


class Kind(StrEnum):
    """Kind of file beside a frame."""

    TSFIELD = "tsField"
    """Photometric calibration of the field, to DR7."""
    PSFIELD = "psField"
    """PSF, gain and dark variance of the field."""
    FPM = "fpM"
    """Mask of the frame."""
    PHOTOOBJ = "photoObj"
    """SDSS's own catalogue of the field, from DR8."""
    TRUTH = "truth"
    """What is really there, where frames are synthetic."""

    @property
    def is_reference(self) -> bool:
        """Whether results are held against it, and so must not come from it."""
        return self in (Kind.PHOTOOBJ, Kind.TRUTH)


def path_beside(frame: FrameId, kind: Kind) -> str | None:
    """Path of a file beside a frame below the base URL of its archive; of the truth, below that of the truth.

    None where the frame's release has no such file.
    """
    if kind is Kind.TSFIELD:
        return frame.tsfield_path
    if kind is Kind.PSFIELD:
        return frame.psfield_path
    if kind is Kind.FPM:
        return frame.mask_path
    if kind is Kind.PHOTOOBJ:
        return frame.photoobj_path
    return f"truth-{frame.run:06d}-{frame.camcol}.parquet"

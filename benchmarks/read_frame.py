"""How long reading a staged frame takes: Kira's reader against astropy alone, in one process, in alternation.

    python -m benchmarks.read_frame ARCHIVE [--repeats 31]

ARCHIVE is a folder laid out like SDSS's archives (`das/` and `sas/` below it): the real one, or what
`python -m kira.sample` writes. Nothing is timed before the pixels, coordinates, calibration vectors and skies of both
readers have been found equal to the last bit, for every frame that is there.

"astropy" is the shortest way to the same things with astropy: `fits.open` on the bytes in memory, the pixels as float32
in native byte order, the tables and the vector of a `frame` file, and `WCS(header)`. It makes none of the checks that
Kira makes. Decompression is in neither: frames are staged as plain FITS.

Expected: 6/17 of astropy's time for an fpC and 8/12 for a frame file, or less.
"""

import argparse
import io
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from kira.frames import Frame, read_frame, unpack
from kira.frames.anyfits import read_any
from kira.records.facts import processor
from kira.sdss import FrameId, Release

EXPECTED = {"fpC": 6 / 17, "frame": 8 / 12}


def with_astropy(content: bytes) -> tuple[np.ndarray, WCS, list[Any]]:
    """Read what Kira reads, with astropy and nothing else."""
    with fits.open(io.BytesIO(content), memmap=False) as hdus:
        data = np.array(hdus[0].data, dtype=np.float32, order="C")
        return data, WCS(hdus[0].header, fix=False), [hdu.data for hdu in hdus[1:]]


def prove_equal(content: bytes, frame_id: FrameId) -> None:
    """Stop with an AssertionError if the two readers, or Kira's own careful path, differ in a single bit."""
    read = read_frame(content, frame_id)
    data, wcs, rest = with_astropy(content)
    careful = read_any(content, frame_id, frame_id.plain_name)
    assert read.data.dtype == np.float32
    assert read.data.tobytes() == data.tobytes() == careful.data.tobytes()
    x, y = (grid.ravel().astype(float) for grid in np.mgrid[0:2048:31, 0:1489:29])
    assert read.wcs is not None
    for ours, theirs in zip(read.wcs.all_pix2world(x, y, 0), wcs.all_pix2world(x, y, 0), strict=True):
        assert np.array_equal(ours, theirs)
    if rest:
        assert read.column_calibration is not None
        assert read.sky_grid is not None
        assert np.array_equal(read.column_calibration, rest[0])
        assert np.array_equal(read.sky_grid.values, rest[1]["ALLSKY"][0])
        assert np.array_equal(read.sky_grid.x, rest[1]["XINTERP"][0])
        assert np.array_equal(read.sky_grid.y, rest[1]["YINTERP"][0])
        assert read.solution is not None
        assert read.solution == careful.solution
        assert read.solution.affine == tuple(rest[2][name][0] for name in "ABCDEF")
    np.testing.assert_equal(facts(read), careful.facts)


def facts(frame: Frame) -> dict[str, Any]:
    """What both paths read from the header."""
    names = ("bunit", "softbias", "exptime", "tai", "sky", "nmgy_per_count", "synthetic")
    return {name: getattr(frame, name) for name in names}


def in_alternation(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Time each call `repeats` times, one after the other, so that a busy moment of the machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(repeats + 2):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if i >= 2:  # the first rounds fill caches
                times[name].append(1e3 * (time.perf_counter() - began))
    return times


def summary(times: list[float]) -> str:
    """Median, and the middle half around it."""
    low, median, high = statistics.quantiles(times, n=4)
    return f"{median:6.2f} ms (middle half {low:.2f} to {high:.2f}, least {min(times):.2f})"


def frames_in(archive: Path) -> list[tuple[FrameId, bytes]]:
    """All frames of an archive, decompressed."""
    found = []
    for service, pattern, release in (("das", "fpC-*", Release(7)), ("sas", "frame-*", None)):
        root = archive / service
        for path in sorted(root.rglob(pattern)):
            frame_id = FrameId.from_archive_path(str(path.relative_to(root)), release)
            found.append((frame_id, unpack(path.read_bytes(), path.name)))
    return found


def main() -> int:
    """Prove, then time; 1 if the expectation was not met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--repeats", type=int, default=31)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # astropy's, about traps of SDSS's headers

    frames = frames_in(arguments.archive)
    if not frames:
        print(f"There are no frames below {arguments.archive}.", file=sys.stderr)
        return 2
    for frame_id, content in frames:
        prove_equal(content, frame_id)
    print(f"{len(frames)} frames are read to the same bits by both readers.")
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {platform.system()} "
          f"{platform.release()}, Python {platform.python_version()}, numpy {np.__version__}, "
          f"astropy {astropy.__version__}; {arguments.repeats} repeats in alternation")  # fmt: skip

    met = True
    for kind, expected in EXPECTED.items():
        chosen = [(f, c) for f, c in frames if f.plain_name.startswith(f"{kind}-")]
        if not chosen:
            continue
        frame_id, content = chosen[len(chosen) // 2]
        times = in_alternation(
            {
                "Kira": lambda c=content, f=frame_id: read_frame(c, f),
                "astropy": lambda c=content: with_astropy(c),
                "Kira's careful path": lambda c=content, f=frame_id: read_any(c, f, f.plain_name),
            },
            arguments.repeats,
        )
        print(f"\n{frame_id.plain_name}, {len(content):,} bytes")
        for name, values in times.items():
            print(f"  {name:20} {summary(values)}")
        ratio = statistics.median(times["Kira"]) / statistics.median(times["astropy"])
        met = met and ratio <= expected
        print(f"  Kira / astropy       {ratio:6.3f} (expected: at most {expected:.3f})")
        frame = read_frame(content, frame_id)
        noise = in_alternation({"noise": lambda f=frame: (vars(f).pop("noise", None), f.noise)}, 7)["noise"]
        print(f"  noise, when asked    {summary(noise)}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

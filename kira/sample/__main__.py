"""`python -m kira.sample FOLDER`: write a synthetic archive."""

import argparse
import sys
from pathlib import Path

from kira.errors import KiraError
from kira.sample.archive import write_sample
from kira.sample.spec import SampleSpec
from kira.sdss import Numbers, Release, Selection


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    usual = SampleSpec()
    parser = argparse.ArgumentParser(prog="python -m kira.sample", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write das/, sas/, truth/ and sample.json")
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--run", type=int, default=usual.run, help="above 8162, the survey's last")
    parser.add_argument("--camcols", default="3", help="such as 3 or 1-6")
    parser.add_argument("--first-field", type=int, default=usual.first_field)
    parser.add_argument("--fields", type=int, default=usual.fields)
    parser.add_argument("--bands", default="ugriz")
    parser.add_argument("--releases", default="dr7,dr12", help="such as dr7,dr12")
    parser.add_argument("--star-density", type=float, default=usual.star_density, help="a square degree, r < 24")
    parser.add_argument("--galaxy-density", type=float, default=usual.galaxy_density, help="a square degree, r < 24")
    parser.add_argument("--processes", type=int, default=None, help="default: all cores")
    given = parser.parse_args(arguments)
    try:
        spec = SampleSpec(
            seed=given.seed,
            run=given.run,
            camcols=tuple(Numbers.parse(given.camcols, "camcols")),
            first_field=given.first_field,
            fields=given.fields,
            releases=tuple(Release.parse(r) for r in given.releases.split(",")),
            bands=Selection.parse("dr12", bands=given.bands).bands,
            star_density=given.star_density,
            galaxy_density=given.galaxy_density,
        )
        report = write_sample(spec, given.folder, processes=given.processes, progress=_tell)
    except KiraError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{report.folder}: {report.frames} synthetic frames, {report.written} files written, {report.skipped} already "
        f"there, {report.size / 1e6:.1f} MB, {report.seconds:.1f} s"
    )
    return 0


def _tell(done: int, total: int) -> None:
    print(f"\r{done} of {total} frames", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

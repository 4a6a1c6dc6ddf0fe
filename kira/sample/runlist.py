"""The list of runs of a SAS release, runList.par, in the form of Yanny's parameter files."""

from kira.sample.spec import SIMULATOR_VERSION, SampleSpec

_TEXT = """\
#
# runList.par
#
# SYNTHETIC: simulated by Kira (kira.sample version {version}, seed {seed}), not an observation.
#

typedef struct {{
    int       run;        # Run number
    char      rerun[];    # Relevant rerun directory
    int       exist;      # Does a directory exist (has it ever been queued) (0/1)?
    int       done;       # Is this field done (0-Not done/1-Done)?
    int       calib;      # Is this field calibrated (0-No/1-Yes)?
                          # All the fields below are only updated if the run is done
                          # Otherwise, they are set to zero.
    int       startfield; # Starting field - determined from fpObjc present
    int       endfield;   # Ending field
    char      machine[];  # The machine the data is on
    char      disk[];     # The disk this run is on....
}} RUNDATA;

RUNDATA {run} 301 1 1 1 {first:04d} {last:04d} unknown unknown
"""


def run_list_text(spec: SampleSpec) -> str:
    """Content of runList.par with the sample's one run."""
    fields = spec.field_numbers
    return _TEXT.format(
        version=SIMULATOR_VERSION, seed=spec.seed, run=spec.run, first=fields[0], last=fields[-1]
    )  # fmt: skip

"""The page of the documentation about validation, made from the checks and their limits.

python -m kira.validation.document docs/validation.md
"""

import json
import sys
from pathlib import Path
from typing import Any

from kira.extraction.profiles_page import descriptions
from kira.validation.checklist import CHECKLIST
from kira.validation.references import SYNONYMS
from kira.validation.thresholds import Thresholds

_HEAD = """\
# Validation

<!-- Made by `python -m kira.validation.document docs/validation.md`; a test compares. Change the code. -->

Before a batch is published, its rows are held against its manifest, against what sources can look like, and against a
reference where there is one. A check that fails with an **error** holds the batch back. A **warning** is for a person
to look at: the batch is published, and the warning is one of the report's caveats.

The report has all checks with what was found, and the numbers by band (`figures`): frames, sources, background, rms,
offsets, zero-point, completeness, the part that is flagged, and the reference. `kira.validation.page` makes an HTML
page of it with plots, for whoever asks for one:

```python
from kira.validation import Thresholds, examine
from kira.validation.page import page
from kira.validation.references import read_catalogue

stars = read_catalogue(Path("stars.fits").read_bytes(), "my stars")
found = examine(table, expected, Thresholds.load("mine.toml"), lambda frame: stars)
Path("page.html").write_text(page(found, "my batch"))
```

## References

| kind | what it is | which stars count |
|---|---|---|
| `photoObj` | SDSS's own objects, from DR8 on, by PSF flux; no deblended parents | not saturated, not at the edge |
| `truth` | what a synthetic sample consists of, by total flux | all but those within 20 pixels of the frame's edge |
| `catalogue` | a FITS table, VOTable, CSV or Parquet file | all but those within 20 pixels of the frame's edge |

A photoObj without a table (photo failed on the field, as on the globular cluster M2) is no reference. Magnitudes are
taken to be SDSS's, 22.5 - 2.5 log10(nmgy); a catalogue in another system shows as a zero-point. Columns of a catalogue
are found by these names, in small or capital letters:
"""

_MATCHING = """\
A frame may be shifted as a whole: the shift that most pairs of bright objects agree on, up to `search_radius`, is taken
off, then each object's nearest source within `match_radius` is it. The shift is part of the offsets. So a frame that is
2 arcsec off is found to be so, and not to have lost its sources. With fewer than `min_matches` objects a check passes
and says that it could not judge. A band's median decides; a single frame that is off in a large batch is a warning,
like a frame out of range (`max_out_of_range`).

What was measured on real frames, and why the limits are where they are: [thresholds.md](thresholds.md).
"""


def page() -> str:
    """Return `docs/validation.md`."""
    checks = [f"| `{one.name}` | {one.asks} | {one.severity} | {_names(one.thresholds)} | {one.advice} |"
              for one in CHECKLIST]  # fmt: skip
    synonyms = [f"| {meaning} | {_names(names)} |" for meaning, names in SYNONYMS.items()]
    return "\n".join([
        _HEAD, "| column | names |", "|---|---|", *synonyms, "", "Where no column says what is a star, all are taken "
        "for stars.\n", _MATCHING, "## Checks\n", "| check | what it asks | a failure is | thresholds | what to do |",
        "|---|---|---|---|---|", *checks, "", _thresholds(),
    ])  # fmt: skip


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _thresholds() -> str:
    said, plain = descriptions(Thresholds), Thresholds().as_dict()
    head = [
        "## Thresholds\n",
        "All are in `kira.validation.Thresholds`. A TOML file says which differ; what it leaves out has its default,",
        "and unknown names are refused:\n", "```toml", "max_zero_point = 0.3", "[limits]", "r = 21.8", "[ranges.sas.r]",
        "rms = [0.01, 0.1]", "```", "", "| threshold | default | meaning |", "|---|---|---|",
    ]  # fmt: skip
    rows = [f"| `{name}` | {_default(name, value)} | {said[name]} |" for name, value in plain.items()]
    return "\n".join(head + rows) + "\n"


def _default(name: str, value: Any) -> str:
    if name != "ranges":
        return f"`{json.dumps(value)}`"
    parts = [f"{archive} {band}: background {limits['background']}, rms {limits['rms']}"
             for archive, bands in value.items() for band, limits in bands.items()]  # fmt: skip
    return "; ".join(parts)


def main() -> None:
    """Write the page to the file that is named."""
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()

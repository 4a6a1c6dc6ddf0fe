"""The page of the documentation about profiles, made from the classes.

python -m kira.extraction.profiles_page docs/profiles.md
"""

import inspect
import json
import re
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from kira.extraction.columns import QUANTITIES
from kira.extraction.flags import meanings
from kira.extraction.parameters import Parameters
from kira.extraction.profile import Profile
from kira.extraction.survey_profile import SurveyProfile

BUILT_IN: tuple[type[Profile], ...] = (Parameters, SurveyProfile)

_HEAD = """\
# Extraction profiles

<!-- Made by `python -m kira.extraction.profiles_page docs/profiles.md`; a test compares. Change the classes. -->

A profile is everything that decides the numbers of an extraction: which pixels become a source, and how it is measured.
Its hash is part of the path of a catalogue, so results of two profiles never mix. There are two kinds, each with a
built-in profile of its name:

- `kira` measures what the published Kira did, number for number. It is the reference, not what to do science with: one
  noise for all pixels, no masks, one aperture in pixels.
- `survey` measures what SExtractor's users expect, with masks, flags and errors from every pixel's noise.

A profile of your own is a TOML file. What it leaves out has its default; without `name` it is called like the file.

```toml
kind = "survey"
threshold = 2.0
apertures = [1.0, 2.0, 7.43]
```

In Python: `Profile.named("survey")`, `Profile.load("mine.toml")`, and `extract(frame, profile)`."""


def as_toml(profile: Profile) -> str:
    """Write a profile as TOML, all of it; `Profile.load` reads it back to an equal value."""
    values: dict[str, Any] = {"kind": profile.kind} | profile.as_dict()
    lines = []
    for key, value in values.items():
        # JSON's numbers, strings and flat lists are TOML too.
        text = json.dumps(value)
        lines.append(f"{key} = {text}")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return `docs/profiles.md`."""
    parts = [_HEAD, "## Parameters of both kinds\n", _table(Profile, Parameters.named("kira"))]
    for kind in BUILT_IN:
        profile = kind.named(kind.kind)
        own = [field for field in fields(kind) if field.name not in {one.name for one in fields(Profile)}]
        parts += [
            f"## Kind `{kind.kind}`\n\n{_paragraphs(kind)}\n",
            _table(kind, profile, own),
            f"The built-in profile, `{profile.slug}`, as TOML:\n\n```toml\n{as_toml(profile)}```\n",
        ]
    parts += ["## Columns of kind `survey`\n", _columns(), "## Flag bits\n", _flags()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def descriptions(kind: type) -> dict[str, str]:
    """Return what a class's docstring says of each of its parameters, in one line each."""
    text = (inspect.getdoc(kind) or "").partition("Parameters\n----------\n")[2]
    text = re.split(r"\n\n\w+\n---", text)[0]
    found = re.findall(r"^(\w+) : .*\n((?:    .*\n?)+)", text, flags=re.MULTILINE)
    return {name: " ".join(line.strip() for line in body.splitlines()) for name, body in found}


def _paragraphs(kind: type) -> str:
    """Return the text above a docstring's parameters."""
    return (inspect.getdoc(kind) or "").partition("\n\nParameters\n---")[0]


def _table(kind: type[Profile], profile: Profile, chosen: "list[Field[Any]] | None" = None) -> str:
    said = descriptions(kind)
    rows = ["| parameter | default | meaning |", "|---|---|---|"]
    for field in chosen if chosen is not None else fields(kind):
        value = "its kind" if field.name == "name" else f"`{json.dumps(getattr(profile, field.name))}`"
        rows.append(f"| `{field.name}` | {value} | {_cell(said[field.name])} |")
    return "\n".join(rows) + "\n"


def _columns() -> str:
    rows = [
        "Fluxes are background-subtracted, in the unit of the frame's pixels (`flux`); pixels count from 0.\n",
        "| column | type | unit | meaning |", "|---|---|---|---|",
    ]  # fmt: skip
    for one in QUANTITIES:
        kind = f"{one.type}, one an aperture" if one.per_aperture else one.type
        rows.append(f"| `{one.name}` | {kind} | {one.unit} | {_cell(one.definition)} |")
    return "\n".join(rows) + "\n"


def _flags() -> str:
    """Return the table of flag bits."""
    rows = ["| bit | name | meaning |", "|---|---|---|"]
    rows += [f"| 0x{flag.value:04x} | `{flag.name}` | {_cell(said)} |" for flag, said in meanings().items()]
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the page to the file that is named."""
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()

"""TOML files that people write: profiles of extraction, limits of validation."""

import tomllib
from pathlib import Path
from typing import Any

from kira.errors import InvalidInput


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Values of a TOML file.

    Parameters
    ----------
    path : Path
    what : str
        What it should hold, for the sentence.

    Raises
    ------
    InvalidInput
        With one sentence that names the file: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read as {what}: {error.strerror or error}.") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise InvalidInput(f"{path} is not TOML: {str(error).rstrip('.')}.") from error

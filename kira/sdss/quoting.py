"""Texts from outside as an error repeats them: on one line, and never longer than a sentence can bear."""

import reprlib

_REPR = reprlib.Repr()
_REPR.maxstring = 120


def quoted(text: str) -> str:
    """Text in quotes, its unprintable characters escaped, the middle of a long one left out."""
    return _REPR.repr(text)


def one_line(text: str, most: int = 300) -> str:
    """Text without quotes, its unprintable characters escaped, the end of a long one left out."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in short)

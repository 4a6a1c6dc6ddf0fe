"""Whatever somebody types: it means something, or it is refused with one sentence; never anything else, and soon."""

import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import asdict

import pytest

from kira.cli.archives import check_archive
from kira.errors import InvalidInput
from kira.sdss import FrameId, Numbers, Release, Selection, SkyRegion
from kira.sdss.archive import Archive
from kira.sdss.listing import read_checksums
from kira.sdss.runlist import read_run_list, read_triples
from kira.storage import Entry, Manifest, open_store

FRAME = FrameId.parse("dr12-301-000094-1-0012-r")
MANIFEST = Manifest(
    "b1", "sample", "dr12", "standard-1", "plan", "manual__1",
    (Entry(FRAME, "http://x/sas/f", "sample/sas/f", "sas/f"),),
).to_text()  # fmt: skip
MEANT = [
    "dr12", "94, 1000-1010", "dr12-301-000094-1-0012-r", "dr7-40-004192-4-0300-u", "cone 10.5 -0.3 1", "ugriz",
    "box 350 10 -1 1", "http://data.sdss.org/sas", "https://[::1]:8443/das", "file:///tmp/kira/stage", "sample",
    "hdfs://127.0.0.1:9000/kira", "imaging/4192/40/corr/4/fpC-004192-r4-0300.fit.gz", "RUN=4153 CAMCOL=4 FIELD=100",
    "dr12/boss/photoObj/frames/301/94/1/frame-r-000094-1-0012.fits.bz2", MANIFEST,
    "typedef struct {\nint run;\n} RUNDATA;\nRUNDATA 94\n", "da39a3ee5e6b4b0d3255bfef95601890afd80709  a\n",
]  # fmt: skip
HOSTILE = [
    "", " ", "\n", "\t", "\0", "\r\n", "-", ",", "--", ",,,", "0", "-1", "1-", "-1-", "1--2", "1,,2", "1-2-3",
    "9" * 400, "1" * 100_000, " " * 100_000 + "x", "1" + " " * 100_000 + "x", "1, " * 30_000 + "x",
    "cone" + " 1" * 30_000,
    "é", "\u0664\u0665", "\u2013", "\ufeffdr12", "dr\u0661\u0662", "dr12\u200b", "\ud800", "\U0001f52d", "a\u0301",
    "nan", "inf", "NaN-NaN", "1e9", "0x10", "1_000", "+94", "None", "null", "true", "[]", "{}", "[" * 100_000,
    '{"a":' * 100_000, "../../etc/passwd", "/etc/passwd", "~root", "~nobody-of-that-name/x", "$HOME", "`id`", "$(id)",
    "; rm -rf /", "' OR 1=1 --", "<script>alert(1)</script>", "%00", "%s%n", "{0}", "{self}", "[bold]x[/bold]",
    "http://", "https://", "http:///x", "http://user:secret@x/", "ftp://x/y", "file:///", "file://x/y", "file:///a\0b",
    "file:///a\nb", "file:///%00", "file:///a?b", "file:///a\n?b", "file:///a#\nb", "hdfs://", "hdfs:///x", "hdfs://h/x",
    "hdfs://h:port/x", "hdfs://h:99999/x", "hdfs://h:-1/x", "hdfs://[::1/x", "hdfs://h/", "hdfs://h\n/x", "hdfs:// /x",
    "s3://bucket/key", "http://x:port/", "http://[", "http://\u2100/", "//x/y", "javascript:alert(1)", "C:\\x",
    "dr0", "dr19", "dr012", "dr-1", "dr12dr12", "DR 12", "dr12\ndr13", "dr12-301-000094-1-0012-r\n",
    "dr12-301-94-1-12-r", "dr12-301-000094-7-0012-r", "dr12-301-000000-1-0012-r", "dr12-301-000094-1-0012-R",
    "cone", "cone 1 2", "box 1 2 3 4 5", "cone 400 0 1", "cone 0 0 0", "cone nan nan nan", "box 1 1 1 1",
    "x" * 300, "/" * 5000, "a/" * 5000, "." * 300, "\\", '"', "'", '"""', "\x1b[31mred\x1b[0m", "\x7f",
    "a\x85b", "a\u2028b",
]  # fmt: skip


def spoilt(text: str, chance: random.Random) -> str:
    """A text with a few characters changed, lost, doubled or put in."""
    letters = list(text)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(letters) + 1)
        odd = chance.choice("\0\n\t\r -,./:;@#?%&=[]{}\"'\\<>|~^$*+0123456789aZéß١\u2028\ud83d\U0001f52d")
        cut = chance.randint(0, 3)
        letters[at : at + cut] = chance.choice([[], [odd], letters[at : at + cut] * 2, [odd] * 3])
    return "".join(letters)


def nonsense() -> list[str]:
    chance = random.Random(20151005)  # the same texts in every run
    return [*MEANT, *HOSTILE, *(spoilt(text, chance) for text in MEANT for _ in range(30))]


TEXTS = nonsense()
READERS: dict[str, Callable[[str], object]] = {
    "FrameId.parse": FrameId.parse,
    "FrameId.from_file_name dr7": lambda text: FrameId.from_file_name(text, Release(7)),
    "FrameId.from_file_name dr12": lambda text: FrameId.from_file_name(text, Release(12)),
    "FrameId.from_archive_path": FrameId.from_archive_path,
    "Release.parse": Release.parse,
    "Numbers.parse": Numbers.parse,
    "SkyRegion.parse": SkyRegion.parse,
    "Selection release": Selection.parse,
    "Selection runs": lambda text: Selection.parse("dr12", runs=text),
    "Selection camcols": lambda text: Selection.parse("dr12", camcols=text),
    "Selection fields": lambda text: Selection.parse("dr12", fields=text),
    "Selection bands": lambda text: Selection.parse("dr12", bands=text),
    "Selection sky": lambda text: Selection.parse("dr12", sky=text),
    "Archive name": lambda text: Archive(text, das="http://x/das", sas="http://x/sas"),
    "Archive das": lambda text: Archive("a", das=text, sas="http://x/sas"),
    "Archive sas": lambda text: Archive("a", das="http://x/das", sas=text),
    "ARCHIVE=": check_archive,
    "open_store": open_store,
    "Store.path_of": lambda text: open_store("file:///tmp/kira").path_of(text),
    "Store.uri": lambda text: open_store("file:///tmp/kira").uri(text),
    "Manifest.from_text": Manifest.from_text,
    "run list": read_run_list,
    "triples": read_triples,
    "checksums": read_checksums,
}


def test_there_are_some_hundred_texts() -> None:
    assert len(set(TEXTS)) > 500


@pytest.mark.timeout(120)  # no text takes a reader out for long
@pytest.mark.parametrize("name", READERS)
def test_it_means_something_or_is_refused_with_a_sentence(name: str) -> None:
    read, refused = READERS[name], 0
    for text in TEXTS:
        try:
            read(text)
        except InvalidInput as error:
            refused += 1
            said = str(error)
            assert said.strip(), repr(text[:200])
            assert said.isprintable(), (text[:200], said[:500])
            assert len(said) < 1000, text[:200]
            assert "secret" not in said or name not in ("Archive das", "Archive sas", "ARCHIVE=")
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is wrong
            pytest.fail(f"{name}({text[:200]!r}): {type(error).__name__}: {str(error)[:300]}")
    assert refused > 100


def test_what_parses_means_the_same_again() -> None:
    """A text that is understood has one canonical form."""
    for text in TEXTS:
        for parse in (FrameId.parse, Release.parse, SkyRegion.parse):
            try:
                value = parse(text)
            except InvalidInput:
                continue
            assert parse(str(value)) == value


@pytest.mark.parametrize("name", sorted(asdict(Manifest.from_text(MANIFEST).entries[0])))
@pytest.mark.parametrize("value", [None, 1, -1, 1.5, "", "\0", [], {}, True, "x" * 10_000], ids=lambda v: repr(v)[:9])
def test_manifest_with_an_odd_frame(name: str, value: object) -> None:
    """A value of another kind is refused, or is one that the field may have."""
    head, row = map(json.loads, MANIFEST.splitlines())
    text = json.dumps(head) + "\n" + json.dumps(row | {name: value}) + "\n"
    if name == "frame":
        with pytest.raises(InvalidInput) as refused:
            Manifest.from_text(text)
        assert str(refused.value).isprintable()
    else:
        with contextlib.suppress(InvalidInput):
            assert Manifest.from_text(text).entries[0].frame == FRAME

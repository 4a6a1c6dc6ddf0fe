"""Mutated FITS files, the same for the same number, and what becomes of each.

`python tests/unit/fuzzing.py SHARED FIRST LAST [SEED]` goes through cases in a process of its own, for a mutant may end
it: a line of JSON is written before each and after each. `python tests/unit/fuzzing.py SHARED` prints the table of
docs/reliability.md. Small frames are cut out of real ones, in a camera of 256 x 256.
"""

import bz2
import contextlib
import faulthandler
import gzip
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from kira.catalog import source_table
from kira.catalog.writing import file_metadata, parquet_bytes
from kira.errors import BadFrame, KiraError
from kira.extraction import Parameters, SurveyProfile, extract
from kira.extraction.limits import FrameLimits
from kira.frames import Companions, anyfits, masks, quick, read_frame, unpack
from kira.laptop import measure_file
from kira.sdss import FrameId

SIDE = 256
BLOCK, CARD = 2880, 80
SEED = "kira 1"
LIMITS = FrameLimits(memory_mb=2048, seconds=20)
FPC, FRAME = FrameId.parse("dr7-40-004192-4-0300-r"), FrameId.parse("dr12-301-000094-1-0012-r")
PROFILES = (SurveyProfile(), Parameters())
COMPANIONS = {"tsfield": "tsfield_path", "psfield": "psfield_path", "mask": "mask_path"}


# -- small files, cut out of real ones


@dataclass(frozen=True)
class Case:
    """A file under a name, and what lies beside it."""

    name: str
    content: bytes
    frame: FrameId | None
    beside: tuple[tuple[str, bytes], ...] = ()


def _with_cards(header: bytes, **values: object) -> bytes:
    for key, value in values.items():
        at = next(i for i in range(0, len(header), CARD) if header[i : i + 8] == key.encode().ljust(8))
        text = f"'{value:<8}'" if isinstance(value, str) else f"{value:>20}"
        header = header[:at] + f"{key:<8}= {text}".encode().ljust(CARD) + header[at + CARD :]
    return header


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def _headers(content: bytes) -> list[tuple[bytes, bytes]]:
    """Header and data of each HDU, both with their padding."""
    with fits.open(io.BytesIO(content), disable_image_compression=True) as hdus:
        facts = [hdus.fileinfo(i) for i in range(len(hdus))]
    return [(content[f["hdrLoc"] : f["datLoc"]], content[f["datLoc"] : f["datLoc"] + f["datSpan"]]) for f in facts]


def _corner(data: bytes, kind: str) -> bytes:
    return _padded(np.frombuffer(data, kind, 1489 * 2048).reshape(1489, 2048)[:SIDE, :SIDE].tobytes())


def small_fpc(content: bytes) -> bytes:
    ((header, data),) = _headers(content)
    return _with_cards(header, NAXIS1=SIDE, NAXIS2=SIDE) + _corner(data, ">i2")


def small_frame(content: bytes) -> bytes:
    (head, pixels), (vector_head, vector), (sky_head, sky), (solution_head, solution) = _headers(content)
    numbers = np.frombuffer(sky, ">f4", 49152 + 2048 + 1489)
    grid, x, y = numbers[:49152].reshape(192, 256), numbers[49152:51200], numbers[51200:]
    row = np.concatenate([grid[:33, :33].ravel(), x[:SIDE], y[:SIDE]])
    sky_head = _with_cards(
        sky_head, NAXIS1=row.nbytes, TFORM1="1089E", TFORM2=f"{SIDE}E", TFORM3=f"{SIDE}E", TDIM1="(33, 33)"
    )
    return b"".join((
        _with_cards(head, NAXIS1=SIDE, NAXIS2=SIDE), _corner(pixels, ">f4"),
        _with_cards(vector_head, NAXIS1=SIDE), _padded(vector[: 4 * SIDE]),
        sky_head, _padded(row.tobytes()), solution_head, solution,
    ))  # fmt: skip


def small_mask(content: bytes) -> bytes:
    """An fpM file with its spans moved into the small camera."""
    hdus = _headers(content)
    out = [_with_cards(hdus[0][0], MASKROWS=SIDE, MASKCOLS=SIDE), hdus[0][1]]
    for header, data in hdus[1:-1]:
        cards = fits.Header.fromstring(header.decode("latin-1"))
        start, size = cards["NAXIS1"] * cards["NAXIS2"], cards["PCOUNT"]
        spans = np.frombuffer(data[start : start + size // 6 * 6], ">i2").reshape(-1, 3) % SIDE
        spans[:, 2] = np.maximum(spans[:, 1], spans[:, 2])
        heap = spans.astype(">i2").tobytes()
        out += [header, data[:start] + heap + data[start + len(heap) :]]
    return b"".join(out) + b"".join(hdus[-1])


def bases(shared: Path) -> list[Case]:
    """What is mutated: both layouts with all that lies beside them, photoObj, and odd files of others."""
    small: dict[str, Callable[[bytes], bytes]] = {"mask": small_mask}
    found = []
    for frame, cut in ((FPC, small_fpc), (FRAME, small_frame)):
        root = shared / "sdss" / frame.release.service
        beside = []
        for kind, path in COMPANIONS.items():
            name = getattr(frame, path)
            if name and (file := root / name).is_file():
                plain = unpack(file.read_bytes(), file.name)
                beside.append((kind, small.get(kind, bytes)(plain)))
        file = root / frame.archive_path
        plain = cut(unpack(file.read_bytes(), file.name))
        found.append(Case(frame.plain_name, plain, frame, tuple(beside)))
    # Under a frame's name as well as under its own: with 999 rows it would take long to mutate.
    objects = shared / "sdss/sas" / FRAME.calibration_path
    content = objects.read_bytes()
    found.append(Case(objects.name, content[: 100 * BLOCK], None))
    odd = sorted((shared / "fits/odd").glob("*.fits"))
    return found + [Case(path.name, _without_checksums(path.read_bytes()), None) for path in odd]


def _without_checksums(content: bytes) -> bytes:
    """With them every mutant would be refused at once, and for the same reason."""
    return content.replace(b"CHECKSUM= ", b"COMMENT   ").replace(b"DATASUM = ", b"COMMENT   ")


@contextlib.contextmanager
def small_camera() -> Iterator[None]:
    """Frames of 256 x 256, where the modules have the shape of SDSS's."""
    before = [(module, module.ROWS, module.COLUMNS) for module in (quick, anyfits, masks)]
    vector = dict(quick._VECTOR)
    for module, _, _ in before:
        module.ROWS, module.COLUMNS = SIDE, SIDE  # type: ignore[attr-defined]
    quick._VECTOR["NAXIS1"] = SIDE
    try:
        yield
    finally:
        for module, rows, columns in before:
            module.ROWS, module.COLUMNS = rows, columns  # type: ignore[attr-defined]
        quick._VECTOR.update(vector)


# -- mutations

Mutation = Callable[[bytearray, random.Random], bytes]

_STRUCTURE = (
    b"SIMPLE", b"BITPIX", b"NAXIS", b"NAXIS1", b"NAXIS2", b"NAXIS3", b"PCOUNT", b"GCOUNT", b"TFIELDS", b"TFORM",
    b"TDIM", b"TTYPE", b"THEAP", b"BZERO", b"BSCALE", b"BLANK", b"XTENSION", b"EXTEND", b"ZNAXIS", b"ZTILE",
    b"ZCMPTYPE", b"ZBITPIX", b"CRVAL", b"CRPIX", b"CD", b"CTYPE", b"CUNIT", b"EQUINOX", b"RADE", b"NMGY", b"SOFTBIAS",
    b"FLUX20", b"TAI", b"EXPTIME", b"RUN", b"FRAME", b"CAMCOL", b"FILTER", b"MASKROWS", b"BUNIT",
)  # fmt: skip
_NEW = (
    b"BLANK", b"BSCALE", b"BZERO", b"TSCAL1", b"TZERO1", b"TNULL1", b"TDIM1", b"THEAP", b"GROUPS", b"GCOUNT", b"PCOUNT",
    b"NAXIS3", b"NAXIS999", b"EXTNAME", b"ZIMAGE", b"ZCMPTYPE", b"LONPOLE", b"A_ORDER", b"A_0_2", b"PV1_1", b"CHECKSUM",
    b"DATASUM", b"CONTINUE", b"INHERIT", b"CRVAL1A", b"WCSAXES", b"CPDIS1", b"D2IMDIS1", b"MJD-OBS", b"PC1_1", b"END",
    b"TABULAR", b"CTYPE1", b"CUNIT1", b"RADESYS", b"",
)  # fmt: skip
_NUMBERS = (
    0, 1, -1, 2, 3, 7, 8, 16, 32, 64, -8, -16, -32, -64, 255, 999, 1000, 2047, 2048, 32_767, 65_536, 777_777_701,
    2**31 - 1, 2**31, 2**32 + 1, 2**62, 2**63, -(2**63), 10**30, 10**69,
)  # fmt: skip
_VALUES = (
    "NaN", "nan", "INF", "-Inf", "1E400", "-1E400", "1E-400", "1.5", "-0.0", "1D5", "T", "F", "''", "'", "'open",
    "'a''b", "'NA'", "(1, 2)", "/ nothing", "", "0x10", "1 2", "1_000", "=", "'\x01'", "TT", "1.2.3", "++1", "'1E'",
    "'0PE(0)'", "'PE(999999999)'", "'1QD'", "'99999999999E'", "'-1E'", "'8X'", "'1M'", "'3A'", "'1P'", "'0A'",
    "'(0,0)'", "'(-1,5)'", "'(99999,99999)'", "'()'", "'RA---SIN'", "'DEC--TAN'", "'GLON-CAR'", "'RA---TPV'",
    "'RA---TAN-SIP'", "'STOKES'", "'furlong'", "'IMAGE'", "'BINTABLE'", "'TABLE'", "'A3DTABLE'", "'RICE_1'",
    "'HCOMPRESS_1'", "'PLIO_1'", "'GZIP_2'",
)  # fmt: skip
_FLOATS = tuple(
    np.array(value, kind).tobytes()
    for kind in (">f4", ">f8")
    for value in (np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-44, 0.0, -1.0, 1e20, 65535.0)
)


def _cards_of(content: bytes) -> list[int]:
    """Where cards begin, END included."""
    found = []
    start = 0
    while start >= 0:
        position = start
        while position + CARD <= len(content) and position - start < 40 * BLOCK:
            found.append(position)
            if content[position : position + 8] == b"END     ":
                break
            position += CARD
        start = content.find(b"XTENSION=", position)
        while start >= 0 and start % BLOCK:
            start = content.find(b"XTENSION=", start + 1)
    return found


def _some_card(content: bytes, chance: random.Random) -> int:
    cards = _cards_of(content)
    if chance.random() < 0.75:
        wanted = [p for p in cards if content[p : p + 8].rstrip().rstrip(b"0123456789_").startswith(_STRUCTURE)]
        cards = wanted or cards
    return chance.choice(cards)


def _value(chance: random.Random) -> str:
    if chance.random() < 0.5:
        return f"{chance.choice(_NUMBERS):>20}"
    if chance.random() < 0.15:
        return f"{chance.uniform(-10, 10) * 10 ** chance.randint(-40, 40):>20.10E}"
    return chance.choice(_VALUES)


def _put(content: bytearray, at: int, card: bytes) -> bytes:
    content[at : at + CARD] = card[:CARD].ljust(CARD)
    return bytes(content)


def card_value(content: bytearray, chance: random.Random) -> bytes:
    at = _some_card(content, chance)
    return _put(content, at, bytes(content[at : at + 8]) + b"= " + _value(chance).encode())


def card_new(content: bytearray, chance: random.Random) -> bytes:
    at = chance.choice(_cards_of(content))
    return _put(content, at, chance.choice(_NEW).ljust(8) + b"= " + _value(chance).encode())


def card_digit(content: bytearray, chance: random.Random) -> bytes:
    at = _some_card(content, chance)
    digits = [i for i in range(at + 9, at + 30) if content[i : i + 1].isdigit()]
    if digits:
        content[chance.choice(digits)] = ord(chance.choice("0123456789-+.E "))
    return bytes(content)


def card_again(content: bytearray, chance: random.Random) -> bytes:
    cards = _cards_of(content)
    one, other = _some_card(content, chance), chance.choice(cards)
    return _put(content, other, bytes(content[one : one + CARD]))


def card_away(content: bytearray, chance: random.Random) -> bytes:
    at = _some_card(content, chance)
    if chance.random() < 0.5:
        return _put(content, at, b"")
    # Those after it move up, as if it had never been there.
    end = content.find(b"END".ljust(CARD), at)
    return bytes(content[:at] + content[at + CARD : end + CARD] + b" " * CARD + content[end + CARD :])


def card_letters(content: bytearray, chance: random.Random) -> bytes:
    at = _some_card(content, chance)
    for _ in range(chance.randint(1, 5)):
        content[min(at + chance.randrange(CARD), len(content) - 1)] = chance.randrange(256)
    return bytes(content)


def end_away(content: bytearray, chance: random.Random) -> bytes:
    ends = [p for p in _cards_of(content) if content[p : p + 8] == b"END     "]
    return _put(content, chance.choice(ends), chance.choice([b"", b"ENDE", b"END = 1"])) if ends else bytes(content)


def bits(content: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice([1, 1, 2, 10, 100])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def numbers(content: bytearray, chance: random.Random) -> bytes:
    """Numbers that are none, or huge, among the data."""
    size = chance.choice([1, 1, 10, 1000, 20_000])
    what = chance.choice(_FLOATS) * size
    at = chance.randrange(0, len(content), 8)
    content[at : at + len(what)] = what[: len(content) - at]
    return bytes(content)


def noise(content: bytearray, chance: random.Random) -> bytes:
    at, size = chance.randrange(len(content)), chance.choice([8, 80, 2880, 60_000])
    size = min(size, len(content) - at)
    content[at : at + size] = chance.choice([bytes(size), b"\xff" * size, b" " * size, chance.randbytes(size)])
    return bytes(content)


def cut(content: bytearray, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return bytes(content[: at // BLOCK * BLOCK if chance.random() < 0.5 else at])


def longer(content: bytearray, chance: random.Random) -> bytes:
    rest = chance.choice([b" ", bytes(BLOCK), b" " * BLOCK, chance.randbytes(BLOCK), bytes(content[:BLOCK]), content])
    return bytes(content + rest)


def splice(content: bytearray, chance: random.Random) -> bytes:
    """Blocks taken out, put in twice, or moved."""
    blocks = max(len(content) // BLOCK, 1)
    at, to = (BLOCK * chance.randrange(blocks) for _ in range(2))
    size = BLOCK * chance.choice([1, 1, 2, 10])
    piece = bytes(content[at : at + size])
    if chance.random() < 0.4:
        del content[at : at + size]
    if chance.random() < 0.7:
        content[to : to + chance.choice([0, size])] = piece
    return bytes(content)


MUTATIONS: tuple[tuple[Mutation, int], ...] = (
    (card_value, 12), (card_new, 5), (card_digit, 5), (card_again, 3), (card_away, 3), (card_letters, 3), (end_away, 1),
    (bits, 4), (numbers, 6), (noise, 3), (cut, 2), (longer, 1), (splice, 2),
)  # fmt: skip


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Change a file in one to three ways."""
    kinds, weights = zip(*MUTATIONS, strict=True)
    for change in chance.choices(kinds, weights, k=chance.choice([1, 1, 2, 3])):
        if content:
            content = change(bytearray(content), chance)
    return content


def _pack(plain: bytes, kind: str) -> bytes:
    return gzip.compress(plain, 1, mtime=0) if kind == ".gz" else bz2.compress(plain, 1) if kind == ".bz2" else plain


def _bomb(kind: str, plain: bytes, chance: random.Random) -> bytes:
    """A few kB that unpack to hundreds of MB, or a thousand members."""
    if chance.random() < 0.5:
        return _pack(plain[:BLOCK], kind) * 1000
    return _pack(plain, kind) + _zeros(kind) * 20


@cache
def _zeros(kind: str) -> bytes:
    return _pack(bytes(1 << 24), kind)


def case(number: int, originals: list[Case], seed: str = SEED) -> tuple[Case, str]:
    """The case of a number, and what it is called."""
    chance = random.Random(f"{seed} {number}")
    one = chance.choice(originals[:2]) if chance.random() < 0.8 else chance.choice(originals[2:])
    if one.beside and chance.random() < 0.25:
        which = chance.randrange(len(one.beside))
        kind, content = one.beside[which]
        beside = (*one.beside[:which], (kind, mutated(content, chance)), *one.beside[which + 1 :])
        return replace(one, beside=beside), kind
    what = one.name.split("-")[0] if one.frame or one.name.startswith("photoObj") else "odd"
    kind = chance.choice(["", ".gz", ".bz2"])
    how = chance.random()
    if kind and how < 0.3:
        packed = _pack(one.content, kind)
        if how < 0.01:
            packed = _bomb(kind, one.content, chance)
        elif how < 0.1:
            packed = packed[: chance.randrange(len(packed))]
        else:
            packed = bits(bytearray(packed), chance)
        return replace(one, name=one.name + kind, content=packed), f"{what}, compressed"
    content = mutated(one.content, chance)
    if one.frame and chance.random() < 0.15:
        # As a file that nobody knows: any image in it is measured.
        one = Case(f"{what}.fits", one.content, None)
    elif one.frame is None and chance.random() < 0.2:
        # And the other way round: somebody's file under a frame's name.
        one = Case(FRAME.plain_name, one.content, FRAME)
    return replace(one, name=one.name + kind, content=_pack(content, kind)), what


# -- what becomes of it


def pipeline(one: Case) -> str:
    """As the stages do: unpack, read, extract by both profiles, table, Parquet."""
    plain = unpack(one.content, one.name)
    frame = read_frame(plain, one.frame, Companions(**dict(one.beside)) if one.frame else None)
    sources = 0
    for profile in PROFILES if one.frame else PROFILES[:1]:
        table = source_table(frame, extract(frame, profile), profile)
        sources += table.num_rows
        if one.frame:
            parquet_bytes(table, metadata=file_metadata(profile, version="0", synthetic=frame.synthetic))
    return "sources" if sources else "no sources"


def laptop(one: Case, folder: Path) -> str:
    """As `kira extract` does."""
    path = folder / one.name
    path.write_bytes(one.content)
    names = {kind: Path(getattr(one.frame, COMPANIONS[kind])).name for kind, _ in one.beside}
    written = [path]
    for kind, content in one.beside:
        written.append(folder / names[kind].removesuffix(".gz"))
        written[-1].write_bytes(content)
    try:
        result = measure_file(path, PROFILES[0], one.frame.release if one.frame else None)
    finally:
        for file in written:
            file.unlink()
    if result.error:
        raise BadFrame(result.error)  # or another kind: the sentence is what a person gets
    assert result.table is not None
    return "sources" if result.table.num_rows else "no sources"


def ending(go: Callable[[], str]) -> dict[str, Any]:
    """What a case came to: `kind`, and what was said; of an error that is not Kira's the traceback."""
    try:
        return {"kind": go(), "said": ""}
    except KiraError as error:
        said = str(error)
        good = bool(said.strip()) and said.isprintable() and said.endswith(".") and len(said) < 1000
        return {"kind": type(error).__name__ if good else "no sentence", "said": said}
    except BaseException as error:  # noqa: BLE001 - whatever else it is, it is wrong
        return {"kind": f"crash: {type(error).__name__}", "said": traceback.format_exc()[-3000:]}


def tell(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def main(shared: Path, first: int, last: int, seed: str = SEED) -> None:
    """Go through the cases from `first` to before `last`."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    originals = bases(shared)
    with small_camera(), tempfile.TemporaryDirectory() as folder:
        for number in range(first, last):
            one, what = case(number, originals, seed)
            ways = {"pipeline": lambda c=one: pipeline(c)}
            if number % 4 == 0:
                ways["laptop"] = lambda c=one: laptop(c, Path(folder))
            for way, go in ways.items():
                tell(number=number, way=way)
                began = time.monotonic()
                with LIMITS.time(), LIMITS.memory():
                    found = ending(go)
                tell(number=number, way=way, what=what, seconds=time.monotonic() - began, **found)


# -- seen from outside


def in_a_process(*arguments: object) -> list[str]:
    """Command that goes through some cases: the arguments of `main`."""
    return [sys.executable, __file__, *map(str, arguments)]


def outcomes(command: list[str]) -> list[dict[str, Any]]:
    """What became of the cases of a process, and of the one at which it ended before its time."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = [line for line in lines if "kind" in line]
    if done.returncode and lines and "kind" not in lines[-1]:
        found.append(lines[-1] | {"kind": f"the process ended with {done.returncode}", "said": done.stderr[-3000:]})
    elif done.returncode:
        raise RuntimeError(f"The process of the cases ended with {done.returncode}: {done.stderr[-3000:]}")
    return found


def _environment() -> dict[str, str]:
    project = str(Path(__file__).resolve().parents[2])
    return os.environ | {"PYTHONPATH": os.pathsep.join([project, os.environ.get("PYTHONPATH", "")])}


GOOD = ("sources", "no sources", "CorruptUpstream", "BadFrame", "ExtractionFailed", "InvalidInput")
"""Endings that are documented: rows of the catalogue, or an error of Kira's with its sentence."""


def table(found: list[dict[str, Any]]) -> str:
    """Count the endings by what was mutated."""
    rows: dict[str, Counter[str]] = {}
    for one in found:
        if one["way"] == "pipeline":
            rows.setdefault(one.get("what", "?"), Counter())[one["kind"] if one["kind"] in GOOD else "else"] += 1
    rows["all"] = sum(rows.values(), Counter())
    lines = [
        "| what was mutated | cases | " + " | ".join(GOOD) + " | anything else |",
        "|---|" + "---|" * (len(GOOD) + 2),
    ]
    for what, counts in rows.items():
        numbers_ = " | ".join(str(counts[kind]) for kind in GOOD)
        lines.append(f"| {what} | {counts.total()} | {numbers_} | {counts['else']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(table(outcomes(in_a_process(sys.argv[1], 0, 2000))))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])

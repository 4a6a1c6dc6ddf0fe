import bz2
import gzip
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.units import deg
from astropy.wcs import WCS
from http_servers import ArchiveServer, RudeServer, answer, file

from kira.errors import ArchiveUnavailable, InvalidInput
from kira.sample import SampleSpec
from kira.sample.beside import field_list_bytes
from kira.sdss import ALL_RELEASES, FrameId, Release, Selection, SkyRegion
from kira.sdss.archive import Archive, ArchiveClient
from kira.sdss.positions import FIELD_RADIUS, FieldPositions, touches
from kira.sdss.sky import SKY_PATTERN

# SDSS writes RADECSYS and odd dates.
pytestmark = pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")

DR10_LIST = "/sas/dr10/boss/resolve/2010-05-23/window_flist.fits"


def touched(region: str, ra: float, dec: float, radius: float = FIELD_RADIUS) -> bool:
    return bool(touches(SkyRegion.parse(region), np.array([ra]), np.array([dec]), radius)[0])


class TestParse:
    @pytest.mark.parametrize(
        ("text", "canonical"),
        [
            ("cone 10.5 -0.3 1.0", "cone 10.5 -0.3 1"), ("  cone\t10 +5 0.25\n", "cone 10 5 0.25"),
            ("box 350 10 -1 1", "box 350 10 -1 1"), ("box 0 360 -90 90", "box 0 360 -90 90"),
            ("cone 0 90 180", "cone 0 90 180"), ("cone 0 -0.0 0.000000000001", "cone 0 0 0.000000000001"),
            ("cone 359.123456789012 0 1", "cone 359.123456789012 0 1"),
        ],
    )  # fmt: skip
    def test_round_trip(self, text: str, canonical: str) -> None:
        region = SkyRegion.parse(text)
        assert str(region) == canonical
        assert SkyRegion.parse(canonical) == region

    @pytest.mark.parametrize(
        "text",
        [
            "", " ", "cone", "cone 1 2", "cone 1 2 3 4", "box 1 2 3", "circle 1 2 3", "CONE 1 2 3", "cone 1 2 0",
            "cone 1 2 -1", "cone 1 2 181", "cone 361 0 1", "cone -1 0 1", "cone 0 91 1", "cone 0 -91 1", "cone nan 0 1",
            "cone inf 0 1", "cone 1e1 0 1", "cone 1,0,1", "cone 1 0 1;", "cone ١ 0 1", "cone 0x1 0 1", "box 1 1 0 1",
            "box 0 1 1 0", "box 0 1 1 1", "box 0 361 0 1", "box 0 1 -91 1", "cone 1 0 1\0", "cone 1.0.0 0 1",
            "c" * 9999, "cone 1 2 3\ncone 1 2 3", "cone 1 0 1" + " 1" * 5000, "cone 1 0 0.0000000000001", "cone 1 0 .5",
        ],
    )  # fmt: skip
    def test_nonsense(self, text: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            SkyRegion.parse(text)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300

    def test_in_a_selection(self) -> None:
        assert Selection.parse("dr12").sky is None
        assert Selection.parse("dr12", sky="  ").sky is None
        selection = Selection.parse("dr12", sky="cone 10 0 1")
        assert selection.sky == SkyRegion("cone", (10, 0, 1))
        assert str(selection).endswith(", cone 10 0 1")
        assert FrameId.parse("dr12-301-000094-1-0012-r") in selection
        with pytest.raises(InvalidInput, match="sky"):
            Selection.parse("dr12", sky="somewhere")

    def test_pattern_allows_nothing(self) -> None:
        assert SKY_PATTERN.startswith("^")
        assert SKY_PATTERN.endswith("$")


class TestTouches:
    @pytest.mark.parametrize(
        ("region", "ra", "dec", "expected"),
        [
            ("cone 10 0 1", 11.14, 0, True), ("cone 10 0 1", 11.15, 0, False),
            ("cone 10 0 1", 10, -1.14, True), ("cone 10 0 1", 10, -1.15, False),
            ("cone 359.5 0 1", 0.6, 0, True), ("cone 359.5 0 1", 0.7, 0, False),
            # Right ascensions draw together: at 60 degrees, twice as many of them to a degree.
            ("cone 10 60 1", 12.2, 60, True), ("cone 10 60 1", 12.4, 60, False),
            # Round the pole there is no direction.
            ("cone 0 90 1", 123.4, 88.9, True), ("cone 0 90 1", 270, 88.8, False),
            ("cone 20 89.5 1", 200, 89.4, True), ("cone 20 89.5 1", 200, 89.3, False),
            ("cone 0 -90 1", 123.4, -88.9, True), ("cone 0 -90 1", 270, -88.8, False),
            ("box 10 12 -1 1", 12.14, 0, True), ("box 10 12 -1 1", 12.15, 0, False),
            ("box 10 12 -1 1", 9.86, 0, True), ("box 10 12 -1 1", 9.85, 0, False),
            ("box 10 12 -1 1", 11, 1.14, True), ("box 10 12 -1 1", 11, 1.15, False),
            ("box 359 1 -1 1", 0, 0, True), ("box 359 1 -1 1", 358.87, 0, True), ("box 359 1 -1 1", 1.13, 0, True),
            ("box 359 1 -1 1", 358.8, 0, False), ("box 359 1 -1 1", 1.2, 0, False), ("box 359 1 -1 1", 180, 0, False),
            ("box 1 359 -1 1", 0, 0, False), ("box 1 359 -1 1", 180, 0, True), ("box 1 359 -1 1", 0.9, 0, True),
            ("box 0 360 -1 1", 123, 0, True), ("box 0 360 -1 1", 123, 2, False),
            ("box 359.9 360 -1 1", 0.1, 0, True), ("box 0 0.1 -1 1", 359.9, 0, True),
            ("box 10 12 59 61", 12.28, 60, True), ("box 10 12 59 61", 12.3, 60, False),
            ("box 10 12 89 90", 200, 89.9, True), ("box 10 12 88 89", 200, 88.9, False),
        ],
    )  # fmt: skip
    def test_edges(self, region: str, ra: float, dec: float, expected: bool) -> None:
        assert touched(region, ra, dec) is expected

    @pytest.mark.parametrize(
        "region",
        ["cone 33 10 3", "cone 0 89 2", "cone 359.9 -45 4", "cone 180 0 0.01", "box 355 5 -3 3", "box 20 100 70 85",
         "box 0 360 80 90", "box 200 190 -10 -9", "box 10 10.01 -0.01 0.01", "box 350 20 -90 -85"],
    )  # fmt: skip
    def test_no_field_that_overlaps_is_left_out(self, region: str) -> None:
        """Fields at random places and angles; one whose own pixels are in the region must belong to it."""
        random = np.random.default_rng(1)
        asked = SkyRegion.parse(region)
        overlapping = 0
        for _ in range(300):
            at = point_near_the_edge(asked, random)
            at = at.directional_offset_by(random.uniform(0, 360) * deg, 0.15 * random.uniform() * deg)
            wcs, angle = WCS(naxis=2), random.uniform(0, 2 * np.pi)
            wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [at.ra.deg, at.dec.deg], [1024, 744]
            turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
            wcs.wcs.cd = 0.396 / 3600 * np.array(turn)
            x, y = np.meshgrid(np.linspace(0, 2047, 23), np.linspace(0, 1488, 17))
            pixels = np.array(wcs.pixel_to_world_values(x, y))
            if touches(asked, *pixels, radius=0.0).any():
                overlapping += 1
                assert touched(region, at.ra.deg, at.dec.deg)
        assert overlapping > 100

    def test_a_survey_is_filtered(self) -> None:
        n = 938_046
        random = np.random.default_rng(2)
        positions = FieldPositions(
            np.repeat(np.arange(n // 1000 + 1, dtype=np.int32) + 94, 1000)[:n], np.full(n, 301, np.int16),
            np.full(n, 3, np.int8), (np.arange(n) % 1000).astype(np.int16),
            random.uniform(0, 360, n), np.degrees(np.arcsin(random.uniform(-1, 1, n))),
        )  # fmt: skip
        positions.touching(SkyRegion.parse("cone 0 0 1"))  # astropy is imported once
        for region in ("cone 10 0 5", "box 350 10 -5 5"):
            fields = positions.touching(SkyRegion.parse(region), (301,))
            assert 100 < sum(map(len, fields.values())) < n / 100


def point_near_the_edge(region: SkyRegion, random: np.random.Generator) -> SkyCoord:
    if region.kind == "cone":
        ra, dec, radius = region.numbers
        return SkyCoord(ra, dec, unit="deg").directional_offset_by(random.uniform(0, 360) * deg, radius * deg)
    west, east, south, north = region.numbers
    along = random.uniform(size=2) if random.uniform() < 0.5 else random.integers(2, size=2)
    return SkyCoord(west + along[0] * ((east - west) % 360 or 360), south + along[1] * (north - south), unit="deg")


def field_list(rows: list[tuple[int, str, int, int, float, float]], rerun: str = "3A") -> bytes:
    """A list as SDSS writes it, with columns before, between and after those that are read."""
    names = ("RUN", "RERUN", "CAMCOL", "FIELD", "RA", "DEC")
    columns = [fits.Column("MJD", "J", array=np.zeros(len(rows)))]
    for name, form, values in zip(names, ("J", rerun, "I", "J", "D", "D"), zip(*rows, strict=True), strict=True):
        columns += [fits.Column(name, form, array=list(values)), fits.Column(f"TAI_{name}", "5D")]
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(out)
    return out.getvalue()


ROWS = [
    (94, "301", 1, 11, 10.0, 0.0), (94, "301", 1, 12, 10.15, 0.0), (94, "301", 2, 11, 10.0, 0.4),
    (97, "301", 1, 11, 200.0, 30.0), (98, "157", 1, 11, 10.0, 0.0), (99, "301", 1, 11, float("nan"), float("nan")),
]  # fmt: skip


class TestPositions:
    @pytest.mark.parametrize("rerun", ["3A", "10A", "I"])
    def test_read(self, tmp_path: Path, rerun: str) -> None:
        path = tmp_path / "window_flist.fits"
        rows = ROWS if rerun.endswith("A") else [(*row[:1], int(row[1]), *row[2:]) for row in ROWS]
        path.write_bytes(field_list(rows, rerun))
        positions = FieldPositions.read(path)
        assert positions.run.tolist() == [94, 94, 94, 97, 98]
        assert positions.rerun.tolist() == [301, 301, 301, 301, 157]
        region = SkyRegion.parse("cone 10 0 0.1")
        assert positions.touching(region, (301,)) == {(94, 1): {11, 12}}
        assert positions.touching(region) == {(94, 1): {11, 12}, (98, 1): {11}}
        path.unlink()
        assert positions.ra.tolist() == [10.0, 10.15, 10.0, 200.0, 10.0]  # nothing is read later

    @pytest.mark.parametrize(
        "content",
        [
            b"", b"<html>no</html>", field_list(ROWS)[:-3000], field_list(ROWS)[:3000], field_list(ROWS)[:2880],
            field_list([(94, "x", 1, 11, 0.0, 0.0)]), field_list([(94, "301", 999, 11, 0.0, 0.0)]),
            field_list(ROWS).replace(b"'CAMCOL", b"'COLCAM"),
        ],
    )  # fmt: skip
    def test_what_is_no_list(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "window_flist.fits"
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match="whole window_flist") as caught:
            FieldPositions.read(path)
        assert "\n" not in str(caught.value)

    def test_where_the_archives_have_it(self) -> None:
        """Those of DR10 and DR17 as SDSS's own pages link to them."""
        assert Release(10).field_list == "dr10/boss/resolve/2010-05-23/window_flist.fits"
        assert Release(12).field_list == "dr12/boss/resolve/2010-05-23/window_flist.fits"
        assert Release(13).field_list == "dr13/eboss/resolve/2013-07-29/window_flist.fits"
        assert Release(17).field_list == "dr17/eboss/resolve/2013-07-29/window_flist.fits"
        assert [r.number for r in ALL_RELEASES if r.field_list is None] == [1, 2, 3, 4, 5, 6, 7]


def page(*names: str) -> bytes:
    links = "".join(f'<a href="{name}">{name}</a>\n' for name in names)
    return f'<html><body><pre><a href="../">../</a>\n{links}</pre></body></html>\n'.encode()


@pytest.fixture
def client(rude: RudeServer) -> Iterator[ArchiveClient]:
    archive = Archive("rude", das=f"{rude.url}/das", sas=f"{rude.url}/sas")
    with ArchiveClient(archive, backoff=0.0, tries=3, timeout=5.0, max_bytes=1_000_000) as client:
        yield client


class TestFoldersInSky:
    def test_only_folders_with_such_fields_are_visited(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(DR10_LIST, file(field_list(ROWS)))
        folder = "/sas/dr10/boss/photoObj/frames/301/94/1/"
        rude.on(
            folder, answer(200, page(*(f"frame-{b}-000094-1-{f:04d}.fits.bz2" for f in (11, 12, 13) for b in "gr")))
        )
        selection = Selection.parse("dr10", bands="r", sky="cone 10 0 0.1")
        assert [str(f) for f in client.list_frames(selection)] == [
            "dr10-301-000094-1-0011-r", "dr10-301-000094-1-0012-r",
        ]  # fmt: skip
        assert rude.paths == [DR10_LIST, folder]
        assert len(list(client.list_frames(selection))) == 2
        assert rude.paths == [DR10_LIST, folder, folder]  # where the fields are is remembered

    def test_nothing_there(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(DR10_LIST, file(field_list(ROWS)))
        rude.on("/sas/dr10/boss/photoObj/frames/", answer(200, page("301/")))
        assert list(client.folders(Selection.parse("dr10", sky="cone 100 0 0.1"))) == []
        assert list(client.folders(Selection.parse("dr10", runs="95", sky="cone 10 0 0.1"))) == []

    def test_by_run_list(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(DR10_LIST, file(field_list(ROWS)))
        names = ("run", "rerun", "exist", "done", "calib", "startfield", "endfield")
        text = "typedef struct {\n" + "".join(f"int {name};\n" for name in names) + "} RUNDATA;\n"
        text += "RUNDATA 94 301 1 1 1 12 13\nRUNDATA 97 301 1 1 1 11 12\n"
        rude.on("/sas/dr10/boss/photo/redux/runList.par", answer(200, text.encode()))
        selection = Selection.parse("dr10", bands="r", sky="cone 10 0 0.1")
        assert [str(f) for f in client.list_from_run_list(selection)] == ["dr10-301-000094-1-0012-r"]

    def test_longer_than_any_frame_and_cut_on_the_way(self, rude: RudeServer, client: ArchiveClient) -> None:
        body = field_list([(94, "301", 1, n % 9000, n % 360.0, 0.0) for n in range(5000)])
        assert len(body) > 1_200_000
        rude.on(DR10_LIST, answer(503), file(body, stop=700_000, ETag='"1"'), file(body, ETag='"1"'))
        assert len(client.positions(Release(10)).run) == 5000
        assert rude.seen[2][2]["range"] == "bytes=700000-"

    def test_changed_on_the_way(self, rude: RudeServer, client: ArchiveClient) -> None:
        body = field_list([(94, "301", 1, n % 9000, n % 360.0, 0.0) for n in range(5000)])
        rude.on(DR10_LIST, file(body, stop=700_000, ETag='"1"'), file(field_list(ROWS), ETag='"2"'))
        assert len(client.positions(Release(10)).run) == 5

    def test_damaged(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(DR10_LIST, file(field_list(ROWS)[:3000]))
        with pytest.raises(ArchiveUnavailable, match=r"window_flist.fits: it is not a whole"):
            client.positions(Release(10))

    def test_no_list(self, client: ArchiveClient) -> None:
        for release in ("dr10", "dr7"):
            with pytest.raises(InvalidInput, match=f"no window_flist.fits .* of {release}: choose by runs"):
                list(client.folders(Selection.parse(release, sky="cone 10 0 0.1")))

    def test_das_takes_the_newest_of_sas(self, rude: RudeServer, client: ArchiveClient) -> None:
        rude.on(DR10_LIST, file(field_list(ROWS)))
        for run in (94, 98):
            rude.on(f"/das/imaging/{run}/", answer(200, page("40/")))
            rude.on(f"/das/imaging/{run}/40/corr/", answer(200, page("1/", "2/")))
            names = (f"fpC-{run:06d}-r1-{f:04d}.fit.gz" for f in (11, 12))
            rude.on(f"/das/imaging/{run}/40/corr/1/", answer(200, page(*names)))
        frames = [str(f) for f in client.list_frames(Selection.parse("dr7", sky="cone 10 0 0.1"))]
        assert frames == ["dr7-40-000094-1-0011-r", "dr7-40-000094-1-0012-r", "dr7-40-000098-1-0011-r"]
        asked = [path.split("/")[2] for path in rude.paths if "window_flist" in path]
        assert asked == [f"dr{n}" for n in range(18, 9, -1)]

    @pytest.mark.parametrize("release", ["dr7", "dr12"])
    def test_real_frames(self, archive_server: ArchiveServer, shared_sdss: Path, tmp_path: Path, release: str) -> None:
        """Where the headers of real frames say that they are, the list finds them."""
        folder = tmp_path / "real"
        with ArchiveClient(archive_server.add("real", shared_sdss)) as client:
            frames = list(client.list_frames(Selection.parse(release, bands="r")))
        rows = []
        for frame in frames:
            path = Path(frame.release.service) / frame.archive_path
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shared_sdss / path, folder / path)
            ra, dec = centre_of(folder / path)
            rows.append((frame.run, "301", frame.camcol, frame.field, ra, dec))
        listed = folder / "sas" / str(Release(12).field_list)
        listed.parent.mkdir(parents=True)
        listed.write_bytes(field_list(rows))
        with ArchiveClient(archive_server.add(f"near-{release}", folder)) as client:
            for frame, row in zip(frames, rows, strict=True):
                found = list(client.list_frames(Selection.parse(release, sky=f"cone {row[4]:.6f} {row[5]:.6f} 0.01")))
                assert found == [frame]

    def test_sample(self, archive_server: ArchiveServer, tmp_path: Path) -> None:
        spec = SampleSpec(fields=4, camcols=(2, 3))
        listed = tmp_path / "sas" / str(Release(12).field_list)
        listed.parent.mkdir(parents=True)
        listed.write_bytes(field_list_bytes(spec))
        with ArchiveClient(archive_server.add("strip", tmp_path)) as client:
            positions = client.positions(Release(12))
        assert len(positions.run) == 8
        first = SkyRegion("cone", (float(positions.ra[0]), float(positions.dec[0]), 0.001))
        assert positions.touching(first) == {(9001, 2): {11}}


def centre_of(path: Path) -> tuple[float, float]:
    unpack: Callable[[bytes], bytes] = gzip.decompress if path.suffix == ".gz" else bz2.decompress
    header = fits.Header.fromstring(unpack(path.read_bytes())[:57_600].split(b"END" + b" " * 77)[0].decode("ascii"))
    with np.errstate(all="ignore"):
        ra, dec = WCS(header).pixel_to_world_values(1023.5, 744)
    return float(ra), float(dec)

from pathlib import Path

import pytest

from kira.errors import InvalidInput
from kira.sdss import Selection
from kira.sdss.runlist import ImagingRun, Triple, frames_from_run_list, read_run_list, read_triples

HEAD = """#
# runList.par
typedef struct {
    int   run;        # Run number
    char  rerun[];    # Relevant rerun directory
    int   exist;
    int   done;
    int   calib;
    int   startfield;
    int   endfield;
    char  machine[];
    char  disk[20];
} RUNDATA;

"""


@pytest.fixture(scope="module")
def published(shared_sdss: Path) -> tuple[ImagingRun, ...]:
    return read_run_list((shared_sdss / "lists" / "runList-dr10.par").read_text())


class TestRunList:
    def test_published_list(self, published: tuple[ImagingRun, ...]) -> None:
        assert len(published) == 765 + 67 + 11
        assert published[0] == ImagingRun(1933, 157, True, True, True, 11, 122)
        assert ImagingRun(3172, 157, True, False, False, 0, 0) in published
        assert sum(run.rerun == 301 for run in published) == 765

    def test_published_number_of_fields(self, published: tuple[ImagingRun, ...]) -> None:
        """SDSS says 938,046 fields: one band of one camcol, times six."""
        one = Selection.parse("dr10", camcols="3", bands="r")
        assert sum(1 for _ in frames_from_run_list(published, one)) * 6 == 938_046

    def test_frames_of_a_run(self, published: tuple[ImagingRun, ...]) -> None:
        [run] = [r for r in published if (r.run, r.rerun) == (94, 301)]
        frames = list(frames_from_run_list(published, Selection.parse("dr12", runs="94")))
        assert len(frames) == (run.last_field - run.first_field + 1) * 6 * 5
        assert frames == sorted(frames)
        assert len(set(frames)) == len(frames)
        some = Selection.parse("dr12", runs="94", camcols="2, 5", fields="0-12", bands="rg")
        assert list(frames_from_run_list(published, some)) == [f for f in frames if f in some]

    def test_runs_that_are_not_done_or_of_another_rerun(self) -> None:
        runs = [
            ImagingRun(95, 301, True, True, True, 11, 11),
            ImagingRun(94, 301, True, True, False, 11, 11),
            ImagingRun(96, 301, True, False, False, 0, 0),
            ImagingRun(97, 157, True, True, True, 11, 11),
        ]
        frames = list(frames_from_run_list(runs, Selection.parse("dr12", camcols="1", bands="r")))
        assert [f.run for f in frames] == [94, 95]

    def test_columns_are_where_the_definition_says(self) -> None:
        swapped = HEAD.replace("run;  ", "x;  ").replace("machine[]", "run").replace("x;", "machine[];")
        assert read_run_list(swapped + "rundata a 301 1 1 1 0011 0012 94 'b c'\n") == (
            ImagingRun(94, 301, True, True, True, 11, 12),
        )

    def test_no_rows(self) -> None:
        assert read_run_list(HEAD) == ()

    @pytest.mark.parametrize(
        "line",
        [
            "RUNDATA", "RUNDATA 94 301 1 1 1 11 12 a", "RUNDATA 94 301 1 1 1 11 12 a b c",
            "RUNDATA x 301 1 1 1 11 12 a b",
            "RUNDATA 94 301 2 1 1 11 12 a b", "RUNDATA 94 301 1 1 1 12 11 a b", "RUNDATA 94 301 1 1 1 11 99999 a b",
            "OTHER 94 301 1 1 1 11 12 a b", "RUNDATA 94 301 1 1 1 11 12 'a b", "mjd 54579", "} RUNDATA;", "<html>",
            "typedef struct {", "RUNDATA 0 301 1 1 1 11 12 a b", "RUNDATA 94 99999 1 1 1 11 12 a b", "RUNDATA 94",
        ],
    )  # fmt: skip
    def test_line_that_is_not_understood(self, line: str) -> None:
        with pytest.raises(InvalidInput, match=r"^Line 16: "):
            read_run_list(f"{HEAD}RUNDATA 95 301 1 1 1 11 12 a b # fine\n{line}\n")

    def test_column_that_is_not_understood(self) -> None:
        with pytest.raises(InvalidInput, match=r"^Line 6: 'int' is not a column"):
            read_run_list(HEAD.replace("int   exist;", "int"))

    def test_run_twice(self) -> None:
        row = "RUNDATA 94 301 1 1 1 11 12 a b\n"
        with pytest.raises(InvalidInput, match="Line 16: run 94 rerun 301 is there twice"):
            read_run_list(HEAD + row + row)

    @pytest.mark.parametrize("text", ["", "# nothing\n", HEAD[:120]])
    def test_no_list_at_all(self, text: str) -> None:
        with pytest.raises(InvalidInput, match="no whole definition"):
            read_run_list(text)


class TestTriples:
    def test_published_sample(self, shared_sdss: Path) -> None:
        triples = read_triples((shared_sdss / "lists" / "sample_rcfs.txt").read_text())
        assert len(triples) == 309
        assert triples[0] == Triple(run=4153, camcol=4, field=100)

    def test_empty_lines_and_comments(self) -> None:
        assert read_triples("\n# a\n  RUN=1 CAMCOL=2  FIELD=3 \r\n") == ((1, 2, 3),)

    @pytest.mark.parametrize("line", ["RUN=1 CAMCOL=2", "RUN=1 CAMCOL=7 FIELD=3", "1 2 3", "RUN=1 CAMCOL=2 FIELD=3 x"])
    def test_line_that_is_not_understood(self, line: str) -> None:
        with pytest.raises(InvalidInput, match=r"^Line 2: "):
            read_triples(f"RUN=1 CAMCOL=2 FIELD=3\n{line}\n")

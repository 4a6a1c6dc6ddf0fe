"""What each check asks, what it means when it fails, and what to do: for people, and for the page of the docs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """One check.

    Parameters
    ----------
    name : str
        As in a report.
    asks : str
        What it holds against what.
    severity : str
        What a failure is: an error, which holds the batch back, or a warning, with which it is published as a caveat.
    advice : str
        What to do when it fails.
    thresholds : tuple of str
        Fields of `Thresholds` that decide.
    """

    name: str
    asks: str
    severity: str
    advice: str
    thresholds: tuple[str, ...] = ()


_BUG = "a fault of the software: report it, with the batch"
_AGAIN = "clear the batch's extract task; if it comes again, report it"
_FEW = "warning for one frame, or few of many; else error"

CHECKLIST: tuple[Item, ...] = (
    Item("schema", "columns, types and nulls are those of the catalogue's kind", "error", _BUG),
    Item("expected_once", "no frame of the batch is there twice", "error", _BUG),
    Item("unexpected_frames", "every row is of a frame of the manifest", "error", _AGAIN),
    Item("row_counts", "every frame has as many rows as extraction counted", "error", _AGAIN),
    Item("numbers", "the sources of a frame are numbered from 0 without a gap", "error", _AGAIN),
    Item("positions", "every source lies within its frame", "error", _BUG),
    Item("coordinates", "right ascension and declination are on the sky", "error",
         "look at the frame's WCS with `kira show`; a broken header comes from the archive"),
    Item("finite_fluxes", "total fluxes are numbers", "error",
         "if all of a frame are missing, it was not calibrated: see its remarks, and whether its tsField is there",
         ("max_not_finite",)),
    Item("unmeasured", "errors, shapes and circles are numbers", "warning",
         "look at the frame that is named: large masked parts, or noise that is not known", ("max_unmeasured",)),
    Item("noise", "background and rms of every frame are finite, and the rms above 0", "error",
         "look at the frame: it may be empty, or all of one value"),
    Item("ranges", "background and rms are in the range of the band", _FEW,
         "twilight, moon, clouds, or a wrong unit (counts where nanomaggies belong)", ("ranges", "max_out_of_range")),
    Item("number_counts", "the number of sources is within wide limits of the band, and not far from the median of the "
         "other frames of its strip", _FEW,
         "too few: clouds, a closed shutter; too many: a wrong noise, a cluster, a satellite; look at the frame",
         ("counts", "count_factor", "min_neighbours", "max_out_of_range")),
    Item("duplicates", "no two sources of a frame are within a pixel of each other, and no two have one `source_id`",
         "error for an id, or for many; warning for few", _AGAIN, ("duplicate_distance", "max_duplicates")),
    Item("counted_twice", "of two rows of a source in the overlap of neighbouring fields one is `primary` (kind "
         "`survey`; where both fields are in the batch)", "error", _BUG, ("overlap_distance", "max_counted_twice")),
    Item("flagged", "a flag bit stands on no more of a band's sources than is usual", "warning",
         "crowded fields (WINDOW_FAILED), bright stars (SATURATED), a bad CCD (MASKED): look at the frame",
         ("max_flagged",)),
    Item("references", "a reference can be read, and a photoObj or truth is of the frame's own field; else it is left "
         "aside", "warning", "the mirror has the wrong file under the name: fetch it again"),
    Item("astrometry", "the median offset from the reference, and its scatter",
         "error above `max_offset` for a band, or for many frames; else warning",
         "all bands alike: the WCS, or a reference of another epoch; one band: its header; a scatter: wrong matches",
         ("warn_offset", "max_offset", "warn_offset_scatter", "search_radius", "match_radius")),
    Item("zero_point", "the median difference of magnitudes of unflagged stars",
         "error above `max_zero_point` for a band, or for many frames; else warning",
         "clouds, a missing or wrong tsField, an aperture that does not suit the seeing, or a reference in another "
         "magnitude system", ("zero_point_columns", "zero_point_magnitudes", "max_flux_error", "warn_zero_point",
                              "max_zero_point")),
    Item("found", "the part of the reference's stars found that are brighter than the limit by a margin",
         "error below `min_found` for a band, or for many frames; else warning",
         "look at the frame that is named: part of it may be masked, its noise wrong, its coordinates elsewhere",
         ("limits", "bright_margin", "warn_found", "min_found")),
    Item("spurious", "the part of the sources that a photoObj or truth does not have, at any magnitude",
         "warning", "noise that is underestimated, a satellite, ghosts of a bright star, or a crowded field in which "
         "photo gave up: look at the frame that is named", ("warn_spurious", "warn_spurious_frame")),
    Item("completeness", "the magnitude to which half of the reference's stars are found", "warning",
         "bad seeing, a bright sky, clouds, or a threshold that is too high", ("limits", "warn_depth")),
)  # fmt: skip
"""In the order in which a report has them."""

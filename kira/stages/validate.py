"""Validate: is a batch fit to be published?"""

import json
import logging
from dataclasses import replace
from datetime import datetime
from itertools import zip_longest
from typing import Any

from kira.catalog import read_parts
from kira.errors import ValidationFailed
from kira.ledger import Outcome, Record, Stage
from kira.sdss import FrameId
from kira.stages.digests import ROWS, PartFile, RowDigests, digests_of, noting
from kira.stages.extraction import JOB, VALIDATION, VALIDATION_PAGE, Measured, read_outcomes
from kira.stages.judging import ReferencesOf, Rules, remarks_on
from kira.stages.work import Attempt, Judge, Services
from kira.storage import Manifest
from kira.validation import ExpectedFrame, Validation, examine

log = logging.getLogger(__name__)

MAX_FAILED_FRACTION = 0.2
"""Failure budget: more than this part of a batch's frames failing in extraction stops it …"""
MIN_FAILED = 3
"""… unless they are fewer than this: one bad frame of two is no reason to hold back the other."""


def validate(services: Services, attempt: Attempt, manifest: Manifest, rules: Rules | None = None) -> None:
    """Hold the extracted batch against its manifest, against what sources can look like, and against references.

    The outcomes of extraction, which the Spark job left with its result, go to the ledger here. The report, a page of
    plots and digests of the rows are left beside the result, and published with it.

    Parameters
    ----------
    services : Services
    attempt : Attempt
    manifest : Manifest
        Of the stage stage.
    rules : Rules, optional

    Raises
    ------
    ValidationFailed
        If the batch must not be published; the sentence names check and frame.
    """
    store = services.store
    context = attempt.context(manifest)
    done_before = store.exists(manifest.published)
    folder = manifest.published if done_before else manifest.extracted
    measured = read_outcomes(store, folder)
    good = [one for one in measured if Outcome(one.outcome).good]
    judge = Judge(services, context, [one.as_record().frame for one in measured], last=True)
    extracted = [judge(one.as_record()) for one in measured]
    if done_before:
        # Another run's seconds and checks are not this one's.
        extracted = [replace(r, again=True, seconds=0.0, checks=0) if r.outcome.good else r for r in extracted]
    services.ledger.record(context, Stage.EXTRACT, extracted)
    if done_before:
        services.ledger.record(context, Stage.VALIDATE, (
            Record(FrameId.parse(one.frame), Outcome(one.outcome), sources=one.sources, again=True) for one in good
        ))  # fmt: skip
        log.info("batch %s is published already: nothing to do", manifest.batch)
        return
    job = json.loads(store.read(f"{folder}/{JOB}"))
    began, ended = (datetime.fromisoformat(job[name]) for name in ("began", "ended"))
    size = sum(one.size or 0 for one in measured)
    services.ledger.add_attempt(context, Stage.EXTRACT, len(measured), began, ended, size)
    with services.ledger.attempt(context, Stage.VALIDATE, len(good)):
        report, sentence = _check(services, manifest, measured, good, rules or Rules())
        store.write(f"{manifest.extracted}/{VALIDATION}", json.dumps(report, indent=1).encode())
        checks = len(report["checks"])
        services.ledger.record(context, Stage.VALIDATE, (
            Record(
                FrameId.parse(one.frame), Outcome.NOT_VALID if sentence else Outcome(one.outcome), sentence,
                sources=one.sources, checks=checks, failed_checks=int(bool(sentence)),
            )
            for one in good
        ))  # fmt: skip
    if sentence:
        raise ValidationFailed(f"Batch {manifest.batch} is not published: {sentence}")
    for caveat in report.get("caveats", ()):
        log.warning("batch %s: published with a caveat: %s", manifest.batch, caveat)
    log.info("batch %s: %d frames, %d checks, none failed", manifest.batch, len(good), checks)


def _check(
    services: Services, manifest: Manifest, measured: list[Measured], good: list[Measured], rules: Rules
) -> tuple[dict[str, Any], str]:
    told, asked = [one.frame for one in measured], [str(entry.frame) for entry in manifest.entries]
    if told != asked:
        first = next((f"{b or a}" for a, b in zip_longest(told, asked) if a != b), "")
        return {"checks": [], "ok": False}, (
            f"extraction gave {len(told)} outcomes, and not exactly one for each of the {len(asked)} frames of its "
            f"manifest, in their order; the first that does not fit: {first}."
        )
    failed = [one for one in measured if not Outcome(one.outcome).good]
    if len(failed) >= MIN_FAILED and len(failed) > MAX_FAILED_FRACTION * len(measured):
        return {"checks": [], "ok": False}, (
            f"{len(failed)} of {len(measured)} frames failed in extraction, more than {MAX_FAILED_FRACTION:.0%}; "
            f"the first: {failed[0].frame}: {failed[0].reason}"
        )
    parts = sorted({one.part for one in good if one.part})
    files: dict[str, PartFile] = {}
    table = read_parts(noting(services.store, manifest.extracted, parts, files))
    # Here the rows are at hand; the run's record would have to read all of them again.
    digests = RowDigests(files, digests_of(table))
    services.store.write(f"{manifest.extracted}/{ROWS}", digests.to_bytes())
    expected = [
        ExpectedFrame(FrameId.parse(one.frame), one.sources, one.background or 0.0, one.rms or 0.0) for one in good
    ]
    references = ReferencesOf(services.mirror, manifest, rules)
    found = examine(table, expected, rules.thresholds, references)
    about = {"remarks": [*remarks_on(measured), *references.remarks[:20]], "synthetic": any(m.synthetic for m in good)}
    drawn = _draw(services, manifest, found, synthetic=about["synthetic"] is True)
    report = found.report
    return report.as_dict() | about | {"page": drawn}, "" if report.ok else report.sentence()


def _draw(services: Services, manifest: Manifest, found: Validation, *, synthetic: bool) -> str:
    """Leave the page of plots; empty, or why there is none."""
    try:
        from kira.validation.page import page  # and with it matplotlib, late

        text = page(found, f"Batch {manifest.batch}", synthetic=synthetic)
    except Exception as error:  # a picture that cannot be drawn holds no catalogue back; the report says it
        log.exception("batch %s: the page of plots could not be drawn", manifest.batch)
        services.store.delete(f"{manifest.extracted}/{VALIDATION_PAGE}")  # of a try before this one
        return f"could not be drawn: {type(error).__name__}: {error}"
    services.store.write(f"{manifest.extracted}/{VALIDATION_PAGE}", text.encode())
    return ""

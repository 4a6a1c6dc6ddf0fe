"""What stands in for the stages that need pixels: outcomes and manifests, and no frame behind them."""

import json
from dataclasses import asdict, replace

from airflow.sdk import get_current_context

from kira.ledger import Ledger, Outcome, Record, Stage
from kira.settings import Settings
from kira.stages.extraction import JOB, MANIFEST, OUTCOMES, VALIDATION, Measured
from kira.stages.work import Attempt
from kira.storage import Manifest, Store, open_store

FAKE_SHA256 = "fa" * 32


def _opened(uri: str) -> tuple[Store, Ledger, Manifest]:
    settings = Settings.from_environment()
    store = open_store(settings.stage_url)
    return store, Ledger(settings.ledger_url), Manifest.load(store, uri)


def _attempt() -> Attempt:
    instance = get_current_context()["ti"]
    return Attempt(str(instance.run_id), instance.try_number)


def _record(ledger: Ledger, manifest: Manifest, stage: Stage, **facts: object) -> None:
    context = _attempt().context(manifest)
    with ledger.attempt(context, stage, len(manifest.entries)):
        records = (Record(entry.frame, Outcome.OK, **facts) for entry in manifest.entries)  # type: ignore[arg-type]
        ledger.record(context, stage, records)


def pass_on(uri: str, stage: str) -> str:
    """As the mirror and stage stages do, without bytes."""
    store, ledger, manifest = _opened(uri)
    _record(ledger, manifest, Stage(stage), size=1, sha256=FAKE_SHA256)
    facts = {"size": 1, "sha256": FAKE_SHA256, "plain_size": 1, "plain_sha256": FAKE_SHA256}
    return manifest.after(stage, (replace(entry, **facts) for entry in manifest.entries)).save(store)  # type: ignore[arg-type]


def measure_nothing(uri: str) -> None:
    """As the Spark job does, without sources."""
    store, ledger, manifest = _opened(uri)
    _record(ledger, manifest, Stage.EXTRACT, sources=0)
    rows = (asdict(Measured(str(entry.frame), Outcome.OK)) for entry in manifest.entries)
    store.write(f"{manifest.extracted}/{OUTCOMES}", "".join(json.dumps(row) + "\n" for row in rows).encode())
    store.write(f"{manifest.extracted}/{MANIFEST}", manifest.to_text().encode())
    store.write(f"{manifest.extracted}/{JOB}", b"{}")


def believe(uri: str) -> str:
    """As the validate stage does, without looking."""
    store, ledger, manifest = _opened(uri)
    _record(ledger, manifest, Stage.VALIDATE, sources=0)
    store.write(f"{manifest.extracted}/{VALIDATION}", json.dumps({"ok": True, "fake": True}).encode())
    return uri

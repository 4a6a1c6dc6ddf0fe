"""A record as a Workflow Run RO-Crate 0.5, so that tools of others read it: https://w3id.org/ro/wfrun/workflow/0.5."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from kira.records.schema import schema_of

METADATA = "ro-crate-metadata.json"
_CRATE = "https://w3id.org/ro/crate/1.1"
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
_LICENSE = "https://spdx.org/licenses/CC0-1.0"
_PROJECT = Path(__file__).resolve().parents[2]


def workflow_of(record: Mapping[str, Any]) -> tuple[str, bytes]:
    """Name and content of the file that wires the run's tasks: that of its DAG, or Kira's own where there is none."""
    dag = str((record.get("request") or {}).get("dag", "sdss_ingest"))
    for path in (_PROJECT / "dags" / f"{dag}.py", _PROJECT / "kira" / "airflow_glue" / "wiring.py"):
        if path.parent.is_dir() and path in set(path.parent.iterdir()):
            return path.name, path.read_bytes()
    raise FileNotFoundError(f"{_PROJECT} has no file that wires the tasks of a run.")


def crate_metadata(record: Mapping[str, Any], files: Mapping[str, int], workflow: str) -> bytes:
    """Describe a record's files.

    Parameters
    ----------
    record : mapping
        `record.json`.
    files : mapping of str to int
        All files of the record but this one, with their sizes.
    workflow : str
        Which of them is the workflow.

    Returns
    -------
    bytes
        JSON-LD, `ro-crate-metadata.json`.
    """
    jobs = [batch["job"] for batch in record["batches"] if batch["job"]]
    # A run that found nothing to do has begun and ended nothing.
    began = _seconds(min((job["began"] for job in jobs), default=record["recorded"]))
    ended = _seconds(max((job["ended"] for job in jobs), default=record["recorded"]))
    parameters = [
        {"@id": f"#parameter-{name}", "@type": "PropertyValue", "name": name, "value": _text(value)}
        for name, value in (record["parameters"] or {}).items()
    ]
    # No data of this crate: described, and where they are.
    results = [
        {"@id": f"#catalogue-{batch['batch']}", "@type": "CreativeWork", "url": batch["published"],
         "name": f"Catalogue of batch {batch['batch']}", "encodingFormat": "application/vnd.apache.parquet",
         "size": str(sum(part["size"] for part in batch["parts"].values()))}
        for batch in record["batches"] if batch["published"]
    ]  # fmt: skip
    results += [
        {"@id": f"#replaced-{number}", "@type": "CreativeWork", "url": url, "name": "Rows of frames that had changed",
         "encodingFormat": "application/vnd.apache.parquet"}
        for number, url in enumerate(sorted({url for batch in record["batches"] for url in batch["replaces"]}))
    ]  # fmt: skip
    versions = (jobs[0] if jobs else {}).get("versions", {})
    action = {
        "@id": "#run", "@type": "CreateAction", "name": f"DAG run {record['dag_run']}",
        "instrument": {"@id": workflow}, "startTime": began, "endTime": ended,
        **_status(record),
        "object": [{"@id": batch["frames"]} for batch in record["batches"]] + _ids(parameters),
        "result": _ids(results),
        "description": "Extraction of all batches of the run; the stages before and after it are in record.json.",
    }  # fmt: skip
    root = {
        "@id": "./", "@type": "Dataset", "conformsTo": [{"@id": one} for one in _PROFILES],
        "name": f"Run of Kira: {record['dag_run']}",
        "description": f"Source catalogue of SDSS frames of {record['release']} from {record['archive']}, "
                       f"extracted by {record['profile']}: frames with checksums, parameters, what did it, times, and "
                       "a digest of every frame's rows.",
        "datePublished": ended, "license": {"@id": _LICENSE}, "mainEntity": {"@id": workflow},
        "mentions": {"@id": "#run"}, "hasPart": [{"@id": path} for path in sorted(files)],
    }  # fmt: skip
    graph: list[dict[str, Any]] = [
        {"@id": METADATA, "@type": "CreativeWork", "about": {"@id": "./"},
         "conformsTo": [{"@id": _CRATE}, {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"}]},
        root,
        {"@id": _LICENSE, "@type": "CreativeWork", "name": "CC0-1.0", "description": "Public domain."},
        *({"@id": one, "@type": "CreativeWork", "name": name, "version": version}
          for one, (name, version) in _PROFILES.items()),
        {"@id": "#airflow", "@type": ["ComputerLanguage", "SoftwareApplication"], "name": "Apache Airflow",
         "url": "https://airflow.apache.org/", "alternateName": "Airflow",
         "version": str(((record.get("request") or {}).get("versions") or {}).get("apache-airflow", "unknown"))},
        action, *parameters, *results,
        *({"@id": f"#{name}", "@type": "SoftwareApplication", "name": name, "softwareVersion": version}
          for name, version in versions.items()),
    ]  # fmt: skip
    if versions:
        root["mentions"] = [{"@id": "#run"}, *({"@id": f"#{name}"} for name in versions)]
    for path in sorted(files):
        about: dict[str, Any] = {
            "@id": path,
            "@type": "File",
            "name": path.rpartition("/")[2],
            "contentSize": str(files[path]),
        }
        if path == workflow:
            about |= {"@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
                      "programmingLanguage": {"@id": "#airflow"}, "encodingFormat": "text/x-python",
                      "version": str(record["recorded_by"]["code"]["version"])}  # fmt: skip
        else:
            about["encodingFormat"] = _format_of(path)
            if schema := schema_of(path):
                about["conformsTo"] = {"@id": schema}
        graph.append(about)
    context = [f"{_CRATE}/context", "https://w3id.org/ro/terms/workflow-run/context"]
    return json.dumps({"@context": context, "@graph": graph}, indent=1).encode()


def _status(record: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the run did what it was for: frames that are bad are told of, and do not fail it."""
    became = (record["figures"] or {}).get("frames", {})
    stopped = int(became.get("unfinished", 0)) + int(became.get("not_valid", 0))
    held = [batch for batch in record["batches"] if not (batch["validation"] or {"ok": True})["ok"]]
    if not (stopped or held):
        return {"actionStatus": {"@id": "http://schema.org/CompletedActionStatus"}}
    why = [str(batch["validation"].get("sentence", f"Batch {batch['batch']} is not valid.")) for batch in held]
    return {
        "actionStatus": {"@id": "http://schema.org/FailedActionStatus"},
        "error": " ".join(why) or f"{stopped} frames stopped on the way.",
    }


def _seconds(when: str) -> str:
    return datetime.fromisoformat(when).isoformat(timespec="seconds")


def _format_of(path: str) -> str:
    if path.endswith(".jsonl"):
        return "application/jsonl"
    return "application/schema+json" if path.endswith(".schema.json") else "application/json"


def _ids(entities: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"@id": one["@id"]} for one in entities]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)

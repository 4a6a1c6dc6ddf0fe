"""Plan over the whole run list, and say what came of it and how much memory it took."""

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any, cast

from archives import EmptyMirror, RunListArchive

from kira.extraction import Parameters
from kira.ledger import Ledger
from kira.sdss import Release, Selection
from kira.sdss.archive import Archive
from kira.stages.plan import plan
from kira.stages.work import Attempt, Services
from kira.storage import open_store


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("url", "folder", "run_list", "run"):
        parser.add_argument(name)
    parser.add_argument("--live", default="")
    asked = parser.parse_args()
    archive = Archive("sdss", das="http://127.0.0.1:9/das", sas="http://127.0.0.1:9/sas")
    store = open_store(f"file://{asked.folder}/stage")
    services = Services(archive, cast("Any", EmptyMirror()), store, Ledger(asked.url))
    client = cast("Any", RunListArchive(Path(asked.run_list)))
    began = time.perf_counter()
    done = plan(
        services, Attempt(asked.run), client, Selection(Release(12)), Parameters(), by_run_list=True,
        is_live=asked.live.__eq__,
    )  # fmt: skip
    seconds, memory = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = {name: getattr(done, name) for name in ("found", "new", "published", "planned", "left", "elsewhere")}
    print(json.dumps(told | {"batches": len(done.batches), "uris": done.batches, "seconds": round(seconds, 1),
                             "megabytes": round(memory)}))  # fmt: skip


if __name__ == "__main__":
    main()

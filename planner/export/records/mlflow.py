"""Runs of MLflow, by its own client; bytes besides as the system metric that MLflow itself writes."""

from __future__ import annotations

import math
from pathlib import Path

from planner.export.records.series import points, results, settings
from planner.report.read import RunRecord
from planner.schema.run_folder import RunFolder

EXPERIMENT = "neuroflux"
"""Where runs are put."""

SYSTEM_METRIC = "system/system_memory_usage_megabytes"
"""MLflow's own name and unit (10^6 bytes) of memory in use."""

_AT_ONCE = 1000
"""Most metrics of one request to MLflow."""


def write(record: RunRecord, name: str, began: float, target: str, folder: Path) -> str:
    """Add a run to the tracking server or store at the address `target`, with plan and report; its id."""
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=target)
    known = client.get_experiment_by_name(EXPERIMENT)
    experiment = client.create_experiment(EXPERIMENT) if known is None else known.experiment_id
    run = client.create_run(experiment, start_time=round(began * 1000), run_name=name)
    metrics, last = [], (began, 0)
    for point in points(record, began):
        last = point.time, point.step
        values = {**point.values, SYSTEM_METRIC: point.resident_bytes / 1e6}
        finite = [(key, each) for key, each in values.items() if math.isfinite(each)]
        metrics += [Metric(key, each, round(point.time * 1000), point.step) for key, each in finite]
    metrics += [Metric(key, each, round(last[0] * 1000), last[1]) for key, each in results(record).items()]
    identity: str = run.info.run_id
    client.log_batch(identity, params=[Param(key, str(value)) for key, value in settings(record).items()])
    for start in range(0, len(metrics), _AT_ONCE):
        client.log_batch(
            identity, metrics=[each for each in metrics[start : start + _AT_ONCE] if math.isfinite(each.value)]
        )
    files = RunFolder(folder)
    for file in (files.plan, files.report):
        client.log_artifact(identity, str(file))
    client.set_terminated(identity, "FINISHED", round((began + record.report.seconds) * 1000))
    return f"run {identity} of experiment {EXPERIMENT}"

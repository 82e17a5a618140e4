"""What a run is beside the same network trained by backpropagation, in a sentence."""

from __future__ import annotations

from planner.report.text import clean
from planner.schema.report import ComparisonReport, Report
from planner.units import format_bytes, format_seconds


def comparison_text(report: Report, found: ComparisonReport) -> str:
    """`backpropagation: 91.2 % …`, or why there is nothing to compare with."""
    if found.accuracy is None:
        return f"with nothing: training by backpropagation did not come to its end ({clean(found.problem or '')})"
    metric, samples = report.task.metric, report.exits[-1].samples
    parts = [f"backpropagation in ample memory: {metric.name} {metric.share(found.accuracy, samples)}"]
    if found.points_behind is not None and found.full_points_behind is not None:
        parts.append(f"the network that came out is {_behind(found.points_behind)}")
        if report.best is not report.exits[-1]:
            parts.append(f"its full model {_behind(found.full_points_behind)}")
    took = [f"peak {format_bytes(found.peak_bytes)}"] if found.peak_bytes is not None else []
    took += [format_seconds(found.seconds)] if found.seconds is not None else []
    return f"{', '.join(parts)} ({', '.join(took)}, outside the budget)"


def _behind(points: float) -> str:
    if abs(points) < 0.005:
        return "as good"
    return f"{abs(points):.2f} points {'behind' if points > 0 else 'ahead'}"

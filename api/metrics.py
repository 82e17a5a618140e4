"""`/metrics`: Prometheus' text format. Labels are routes, methods and statuses, never ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Gauge:
    """Something that is looked up when it is asked for."""

    kind: str
    """`gauge` or `counter`."""
    meaning: str
    """In words."""
    values: Mapping[str, float]
    """By labels, as they stand between braces; one without any has an empty text."""


class _Durations:
    """A histogram of one route."""

    def __init__(self) -> None:
        self.counts = [0] * len(_BUCKETS)
        self.total = 0.0
        self.count = 0

    def observe(self, seconds: float) -> None:
        self.total += seconds
        self.count += 1
        for index, edge in enumerate(_BUCKETS):
            if seconds <= edge:
                self.counts[index] += 1


class Metrics:
    """What has been counted since the process began."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._durations: dict[str, _Durations] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request has been answered."""
        self._requests[method, route, status] += 1
        self._durations.setdefault(route, _Durations()).observe(seconds)

    def text(self, gauges: Mapping[str, Gauge]) -> str:
        """Everything, gauges by their names."""
        lines = [*self._request_lines(), *self._duration_lines()]
        for name, gauge in gauges.items():
            lines += [f"# HELP {name} {gauge.meaning}", f"# TYPE {name} {gauge.kind}"]
            lines += [
                f"{name}{f'{{{labels}}}' if labels else ''} {value:.17g}" for labels, value in gauge.values.items()
            ]
        return "\n".join(lines) + "\n"

    def _request_lines(self) -> Iterator[str]:
        yield "# HELP neuroflux_requests_total Requests answered."
        yield "# TYPE neuroflux_requests_total counter"
        for (method, route, status), count in sorted(self._requests.items()):
            labels = f'method="{method}",route="{route}",status="{status}"'
            yield f"neuroflux_requests_total{{{labels}}} {count}"

    def _duration_lines(self) -> Iterator[str]:
        name = "neuroflux_request_seconds"
        yield f"# HELP {name} Time to the end of the answer."
        yield f"# TYPE {name} histogram"
        for route, durations in sorted(self._durations.items()):
            for edge, count in zip(_BUCKETS, durations.counts, strict=True):
                yield f'{name}_bucket{{route="{route}",le="{edge:g}"}} {count}'
            yield f'{name}_bucket{{route="{route}",le="+Inf"}} {durations.count}'
            yield f'{name}_sum{{route="{route}"}} {durations.total:.6f}'
            yield f'{name}_count{{route="{route}"}} {durations.count}'

"""The obvious loop with accumulation: micro-batches as large as fit, a step behind the full batch."""

from __future__ import annotations

from benchmarks.peers.theirs.loop import accumulate, arguments, begin, network_of


def main() -> None:
    """Train."""
    given = arguments()
    begin()
    network = network_of(given)
    accumulate(given, network, network)


if __name__ == "__main__":
    main()

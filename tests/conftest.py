"""What holds for all tests."""

from __future__ import annotations

from planner.system.resident import evict_torch_libraries

# Before any test module imports torch into this process: afterwards its pages, in the large pieces that a fresh
# installation leaves, could not be evicted, and every process that a test measures would be 150 MiB larger.
evict_torch_libraries()

pytest_plugins = ["tests.unit.api.databases"]

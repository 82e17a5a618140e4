"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

from planner.system.resident import evict_torch_libraries

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Before any test module imports torch into this process: afterwards its pages, in the large pieces that a fresh
# installation leaves, could not be evicted, and every process that a test measures would be 150 MiB larger.
evict_torch_libraries()

pytest_plugins = ["tests.unit.api.databases"]

"""Whether a device has what is asked of it."""

from __future__ import annotations

from planner.errors import InputError
from planner.schema.common import Device
from planner.units import format_bytes


def check_device(device: Device, budget_bytes: int) -> None:
    """Refuse a budget above the memory of the device. Raises InputError that names both."""
    if 0 < device.total_bytes < budget_bytes:
        raise InputError(
            f"budget is {format_bytes(budget_bytes)} ({budget_bytes} bytes), but {device.name}, the profile's device, "
            f"has {format_bytes(device.total_bytes)} ({device.total_bytes} bytes) of memory; name at most that"
        )

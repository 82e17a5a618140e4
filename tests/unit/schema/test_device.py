from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from api.documents import parse
from planner.errors import DocumentError
from planner.schema.codec import decode, encode, parse_json, to_json
from planner.schema.device import Baseline, DeviceDocument
from planner.schema.profile import Storage
from tests.unit.profiler.profiles import FOREIGN

DOCUMENT = DeviceDocument("device/1", FOREIGN, 4, "0" * 64, Storage(1, 2), Baseline(3, 4, 5))


@pytest.mark.parametrize("document", [DOCUMENT, replace(DOCUMENT, runtime=None)])
def test_a_device_survives_being_a_document(document: DeviceDocument) -> None:
    text = to_json(document)
    assert decode(DeviceDocument, parse_json(text)) == document == parse(DeviceDocument, text.encode())


@pytest.mark.parametrize(
    "change", [{"schema": "device/2"}, {"runtime": {"baseline_bytes": -1}}, {"storage": {"read_bytes_per_second": 0}}]
)
def test_what_cannot_be_is_refused(change: dict[str, Any]) -> None:
    value = encode(DOCUMENT)
    for name, part in change.items():
        value[name] = {**value[name], **part} if isinstance(part, dict) else part
    with pytest.raises(DocumentError):
        decode(DeviceDocument, parse_json(json.dumps(value)))

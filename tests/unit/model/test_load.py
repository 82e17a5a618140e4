"""What a person names becomes a checked model, or an error that says what would be right."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from planner.errors import DocumentError, InputError, ModelError
from planner.model.load import load_model, model_from_json
from planner.model.zoo import ZOO, from_zoo
from planner.schema.codec import content_id, to_json
from tests.unit.corpus import CORPUS, name

SMALLEST = CORPUS / "model" / "good" / "smallest.json"


def write(folder: Path, value: Any) -> str:
    path = folder / "model.json"
    path.write_text(json.dumps(value))
    return str(path)


@pytest.mark.parametrize("zoo", [name for name in ZOO if ZOO[name].takes != "tokens"])
def test_a_zoo_name_takes_input_and_classes_or_has_its_own(zoo: str) -> None:
    assert load_model(zoo, None, None) == from_zoo(zoo, ZOO[zoo].input, ZOO[zoo].classes)
    assert load_model(zoo, (1, 32, 32), 47) == from_zoo(zoo, (1, 32, 32), 47)


@pytest.mark.parametrize("zoo", [name for name in ZOO if ZOO[name].takes != "tokens"])
def test_an_explicit_chain_in_a_file_is_the_zoos(zoo: str, tmp_path: Path) -> None:
    path = tmp_path / "chain.json"
    path.write_text(to_json(from_zoo(zoo, (3, 40, 40), 12)))
    assert content_id(load_model(str(path), None, None)) == content_id(load_model(zoo, (3, 40, 40), 12))


def test_a_zoo_name_in_a_file_is_expanded(tmp_path: Path) -> None:
    file = write(tmp_path, {"schema": "model/1", "zoo": "resnet18", "input": [1, 28, 28], "classes": 3})
    assert load_model(file, None, None) == from_zoo("resnet18", (1, 28, 28), 3)
    for zoo in ("cnn6", "dscnn-kws"):
        found = load_model(write(tmp_path, {"schema": "model/1", "zoo": zoo}), None, None)
        assert found == load_model(zoo, None, None)
    assert (found.input, found.classes) == ((1, 49, 10), 12)


@pytest.mark.parametrize(
    "wrong", ["vgg12", "VGG16", "", "vgg16.onnx", "torchvision.models.vgg16", "../vgg16", "x" * 1000]
)
def test_an_unknown_name_is_answered_with_where_names_are(wrong: str) -> None:
    with pytest.raises(
        ModelError, match=r"is neither in the zoo \(.*`neuroflux models` lists .*\) nor a \.json or \.onnx file"
    ) as refused:
        load_model(wrong, None, None)
    assert wrong[:60] in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_request_that_contradicts_the_description_is_refused() -> None:
    with pytest.raises(InputError, match=r"smallest\.json: the model takes 1x2x2, but 3x32x32 was asked for$"):
        load_model(str(SMALLEST), (3, 32, 32), None)
    with pytest.raises(InputError, match=r"smallest\.json: the model has 2 classes, but 10 were asked for$"):
        load_model(str(SMALLEST), None, 10)
    assert load_model(str(SMALLEST), (1, 2, 2), 2).name == "smallest"


@pytest.mark.parametrize(("shape", "classes"), [((3, 32, 32), 0), ((3, 32, 32), -1), ((0, 0, 0), None)])
def test_zero_is_not_the_same_as_absent(shape: tuple[int, int, int], classes: int | None) -> None:
    with pytest.raises(ModelError, match=r"^cnn6: (classes|input\[0\]).* is (0|-1); it must lie between"):
        load_model("cnn6", shape, classes)


@pytest.mark.parametrize("file", ["missing.json", "folder.json"])
def test_a_file_that_cannot_be_read_is_named(file: str, tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match=rf"^{re.escape(str(tmp_path / file))}: cannot be read \((No such|Is a dir)"):
        load_model(str(tmp_path / file), None, None)


@pytest.mark.parametrize("path", sorted((CORPUS / "model" / "bad").glob("*.json")), ids=name)
def test_a_bad_description_is_refused_and_its_file_named(path: Path) -> None:
    with pytest.raises(DocumentError, match=rf"^{re.escape(str(path))}: "):
        load_model(str(path), None, None)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("model/3", r"\$\.schema: 'model/3' is newer than this release reads \('model/2'\); update it"),
        ("plan/1", r"\$\.schema: 'plan/1' is not a 'model' document \('model/2'\)"),
    ],
)
@pytest.mark.parametrize("rest", [{"zoo": "vgg11"}, {"name": "x", "units": []}])
def test_newer_and_foreign_schemas_are_told_apart(
    schema: str, message: str, rest: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DocumentError, match=message):
        load_model(write(tmp_path, {"schema": schema, **rest}), None, None)


def test_a_chain_that_does_not_hold_is_refused_with_file_unit_and_layer(tmp_path: Path) -> None:
    value = json.loads(SMALLEST.read_text())
    value["units"].insert(
        0, {"name": "first", "layers": [{"op": "relu"}, {"op": "max_pool2d", "kernel": 3, "stride": 1}]}
    )
    file = write(tmp_path, value)
    with pytest.raises(
        ModelError, match=rf"^{re.escape(file)}: unit 0: first, layer 1 \(max_pool2d\): nothing is left"
    ) as refused:
        load_model(file, None, None)
    assert refused.value.unit == 0


@pytest.mark.parametrize("value", [None, [], "vgg16", 3, {}, {"zoo": "vgg16"}, {"schema": "model/1", "zoo": "vgg12"}])
def test_whatever_json_holds_is_a_model_or_bad_input(value: Any) -> None:
    with pytest.raises(InputError):
        model_from_json(value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"units": [0] * 1025}, r"^\$: units: their number is 1025; it must lie between 1 and 1024$"),
        (
            {"units": [{"layers": [0]}, {"layers": [0] * 65}]},
            r"^\$\.units\[1\]: layers: their number is 65; it must lie between 1 and 64$",
        ),
        ({"units": [{"name": "u", "layers": [0] * 64}]}, r"layers\[0\]"),
        ({"units": 1}, r"^\$\.units"),
        ({"units": [{"layers": 1}]}, r"^\$\.units\[0\]"),
    ],
)
def test_lists_that_are_too_long_are_refused_before_their_items_are_read(
    change: dict[str, object], expected: str
) -> None:
    value = {"schema": "model/1", "name": "long", "input": [3, 8, 8], "classes": 2, **change}
    with pytest.raises(DocumentError, match=expected):
        model_from_json(value)

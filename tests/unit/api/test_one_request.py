"""The same asked on the command line, from Python and over REST is the same request, and gives the same plan."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from starlette.testclient import TestClient

import planner
from planner.cli.main import main
from planner.heads.base import HeadChoice
from planner.profiler.library.applies import read_profile
from planner.profiler.library.shipped import FOLDER
from planner.schema.codec import decode, encode, to_json
from planner.schema.common import OptimizerConfig, OptimizerKind
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.request import Strategy
from planner.schema.terms import BudgetTerms, PlanTerms
from planner.units import MIB
from tests.unit.api.service import send
from tests.unit.every_term import EVERY_TERM, fitting_profile

OPTIONS = shlex.split("""
    --budget 700MiB --scope training --batch 64 --epochs 5 --early-epochs 3 --samples 1000 --optimizer adam --lr 0.002
    --weight-decay 0.001 --weight-decay-on all
    --schedule constant --warmup 2 --augment crop --views 2 --dtype bfloat16 --seed 7 --freeze 1 --storage 1GiB
    --cache-dtype uint8 --strategy neuroflux --prefer fidelity --max-cuts 5 --linear-segments --allocator fast
    --reserve 1MiB --head auto --head-time-share 0.1 --grouping-threshold 0.2 --mean 0.485,0.456,0.406
    --std 0.229 --resize 40 --crop 32 --polish 3 --polish-lr 0.0005 --overlap auto
    --max-accuracy-loss 12.5
""")


def by_command(profile: Profile, words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> Plan:
    file = folder / "profile.json"
    file.write_text(to_json(profile))
    code = main(["plan", "--model", "cnn6", "--profile", str(file), "--any-device", "--json", *words])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return decode(Plan, json.loads(captured.out))


def by_rest(profile: Profile, terms: dict[str, object], local: TestClient) -> Plan:
    assert send(local, "/v1/profiles", to_json(profile).encode()).status_code == 201
    answer = local.post("/v1/plans", json={"model": "cnn6", "profile": profile.id, **terms})
    assert answer.status_code == 201, answer.text
    return decode(Plan, answer.json())


def test_every_term_arrives(local: TestClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = fitting_profile()
    wanted = decode(PlanTerms, EVERY_TERM).request()
    from_python = planner.plan(
        profile,
        "700MiB",
        scope="training",
        batch=64,
        epochs=5,
        early_epochs=3,
        samples=1000,
        schedule="constant",
        warmup=2,
        polish=3,
        polish_lr=0.0005,
        seed=7,
        freeze=1,
        augment="crop",
        views=2,
        mean=(0.485, 0.456, 0.406),
        std=0.229,
        resize=40,
        storage="1GiB",
        cache_dtype="uint8",
        strategy="neuroflux",
        prefer="fidelity",
        max_cuts=5,
        linear_segments=True,
        allocator="fast",
        reserve="1MiB",
        head="auto",
        overlap="auto",
        head_time_share=0.1,
        grouping_threshold=0.2,
        max_accuracy_loss=12.5,
    )
    found = [from_python, by_command(profile, OPTIONS, tmp_path, capsys), by_rest(profile, EVERY_TERM, local)]
    assert [plan.request for plan in found] == [wanted] * 3
    assert [plan.stages for plan in found] == [from_python.stages] * 3
    assert {plan.id for plan in found} == {from_python.id}


def test_what_an_optimizer_is_set_to_arrives(
    local: TestClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of SGD, which has all of it."""
    profile = read_profile(FOLDER / "models" / "cnn6-3x32x32-10-sgd.json")
    optimizer = OptimizerConfig("sgd", 0.3, 0.8, False, 0.125, "all")
    words = "--budget 400MiB --lr 0.3 --momentum 0.8 --no-nesterov --weight-decay 0.125 --weight-decay-on all"
    terms: dict[str, object] = {"budget": {"bytes": 400 * MIB}, "training": {"optimizer": encode(optimizer)}}
    found = [
        planner.plan(profile, "400MiB", optimizer=optimizer),
        by_command(profile, words.split(), tmp_path, capsys),
        by_rest(profile, terms, local),
    ]
    assert [plan.training.optimizer for plan in found] == [optimizer] * 3
    nesterov = by_command(profile, [*words.replace("--no-", "--").split()], tmp_path, capsys)
    assert nesterov.training.optimizer == replace(optimizer, nesterov=True)


def test_a_rate_that_is_left_out_follows_the_batch(
    local: TestClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = read_profile(FOLDER / "models" / "cnn6-3x32x32-10-sgd.json")
    found = [
        planner.plan(profile, "400MiB", batch=32),
        by_command(profile, ["--budget", "400MiB", "--batch", "32"], tmp_path, capsys),
        by_rest(profile, {"budget": {"bytes": 400 * MIB}, "training": {"batch": 32}}, local),
    ]
    assert [plan.training.optimizer.lr for plan in found] == [0.0125] * 3


def test_what_is_left_out_is_the_same(local: TestClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = read_profile(FOLDER / "models" / "cnn6-3x32x32-10-sgd.json")
    from_python = planner.plan(profile, "400MiB")
    assert from_python.request == PlanTerms(budget=BudgetTerms(400 * MIB)).request()
    assert by_command(profile, ["--budget", "400MiB"], tmp_path, capsys) == from_python
    assert by_rest(profile, {"budget": {"bytes": 400 * MIB}}, local) == from_python


def test_the_service_says_what_the_defaults_are(local: TestClient) -> None:
    terms = decode(PlanTerms, local.get("/v1/plans/terms").json())
    assert terms == PlanTerms(budget=BudgetTerms(terms.budget.bytes))
    assert local.get("/v1/plans/terms").json() == encode(terms)


def test_the_service_says_in_words_what_may_be_chosen(local: TestClient) -> None:
    choices = local.get("/v1/plans/choices").json()
    for name, kind in (("strategies", Strategy), ("optimizers", OptimizerKind), ("heads", HeadChoice)):
        assert [choice["name"] for choice in choices[name]] == list(get_args(kind))
        assert all(choice["words"] for choice in choices[name])


def test_what_a_plan_was_asked_for_can_be_asked_again(local: TestClient) -> None:
    plan = by_rest(fitting_profile(), EVERY_TERM, local)
    again = {"model": encode(plan.model), "profile": plan.profile_id, **encode(plan.request)}
    answer = local.post("/v1/plans", json=again)
    assert (answer.status_code, answer.json()["id"]) == (200, plan.id)
    compared = local.post("/v1/plans/compare", json=again).json()["rows"]
    assert [row["plan_id"] for row in compared] == [plan.id]
    assert local.get(f"/v1/plans/{plan.id}/frontier").status_code == 200

"""Networks of other people's packages at the door: `python -m benchmarks.doors.accept PACKAGE [FILE]`.

PACKAGE is torchvision, timm or transformers. Needs an environment with it (torch 2.13.0 and torchvision 0.28.0 as
`benchmarks/results/doors.md` says, `timm`, `transformers`); no weights are fetched. Each builder is tried in a
process of its own at the smallest input that it takes: exported, cut, and proven as `planner.profile` does it,
gradients and buffers included. FILE gets a line of JSON for each; `table FILE` prints Markdown.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.doors import hugging_face

SECONDS = 400
"""Of the processor, for one network."""
SIDES = (64, 96, 128, 224, 299)
"""Inputs tried, the smallest first, and then the one that the package says."""
LARGEST = 310_000_000
"""Parameters above which a network is left out: its proof takes several copies."""


def builders(package: str) -> list[str]:
    """What there is: torchvision's classifiers; of timm the smallest-named network of each of its files."""
    if package == "torchvision":
        from torchvision import models

        return [str(name) for name in models.list_models(module=models)]
    if package == "transformers":
        return list(hugging_face.FAMILIES)
    import timm

    first: dict[str, str] = {}
    for name in timm.list_models():
        module = timm.models.model_entrypoint(name).__module__
        if module not in first or _size(name) < _size(first[module]):
            first[module] = name
    return sorted(first.values())


def _size(name: str) -> tuple[int, int, str]:
    """Small ones first, by what their names say."""
    words = (
        "test_",
        "atto",
        "femto",
        "pico",
        "nano",
        "tiny",
        "_xxs",
        "xx_small",
        "_xs",
        "x_small",
        "mini",
        "small",
        "_s",
        "18",
    )
    rank = next((index for index, word in enumerate(words) if word in name), len(words))
    return rank, len(name), name


def build(package: str, name: str, side: int) -> Any:
    """The network, with weights at random."""
    if package == "torchvision":
        from torchvision import models

        options: dict[str, Any] = {"num_classes": 10}
        if name.startswith("vit_"):
            options["image_size"] = side
        if name in ("googlenet", "inception_v3"):
            options |= {"aux_logits": False, "init_weights": True}
        return models.get_model(name, weights=None, **options)
    import timm

    try:
        return timm.create_model(name, pretrained=False, num_classes=10, img_size=side)
    except TypeError:
        return timm.create_model(name, pretrained=False, num_classes=10)


def sides(package: str, name: str) -> tuple[int, ...]:
    """Inputs to try."""
    if package != "timm":
        return SIDES
    import timm

    own = timm.get_pretrained_cfg(name)
    return SIDES if own is None else (*SIDES, own.input_size[-1])


def attempt(package: str, name: str) -> dict[str, Any]:
    """What became of one network."""
    import torch

    from planner.errors import ModelError
    from planner.model.importers.given import Given
    from planner.model.importers.module import import_chain

    if package == "transformers":
        network, sample = hugging_face.build(name), hugging_face.sample(name)
        start = time.process_time()
        try:
            chain = import_chain(Given(network, sample, outputs=lambda found: found.logits))
        except ModelError as error:
            return {"name": name, "accepted": False, "side": tuple(sample.shape[1:]), "reason": str(error)}
        return {
            "name": name,
            "accepted": True,
            "side": tuple(sample.shape[1:]),
            "units": len(chain.model.units),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "seconds": time.process_time() - start,
        }
    reason = ""
    for side in sides(package, name):
        torch.manual_seed(0)
        try:
            network = build(package, name, side)
            parameters = sum(parameter.numel() for parameter in network.parameters())
            if parameters > LARGEST:
                return {"name": name, "accepted": None, "reason": f"{parameters / 1e6:.0f} M parameters"}
            with torch.no_grad():
                network.eval()(torch.zeros(2, 3, side, side))
                network.train()(torch.zeros(2, 3, side, side))
        except Exception as error:  # an input that the network does not take
            reason = f"{side}: {type(error).__name__}: {error}"
            continue
        torch.manual_seed(0)
        network = build(package, name, side)
        start = time.process_time()
        try:
            chain = import_chain(Given(network, torch.zeros(1, 3, side, side)))
        except ModelError as error:
            return {"name": name, "accepted": False, "side": side, "reason": str(error)}
        return {
            "name": name,
            "accepted": True,
            "side": side,
            "units": len(chain.model.units),
            "parameters": parameters,
            "seconds": time.process_time() - start,
        }
    return {"name": name, "accepted": None, "reason": f"takes none of the inputs tried ({reason[:200]})"}


def _limit_processor() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))  # the second is by SIGKILL


def _in_child(package: str, name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.doors.accept", "one", package, name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_limit_processor)
    if done.returncode == -signal.SIGXCPU:
        return {"name": name, "accepted": None, "reason": f"took more than {SECONDS} s of the processor"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"name": name, "accepted": False, "reason": f"exit {done.returncode}: {done.stderr[-300:]}"}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def rows(file: Path) -> Iterator[str]:
    """The table."""
    found = [json.loads(line) for line in file.read_text().splitlines()]
    judged = [one for one in found if one["accepted"] is not None]
    taken = [one for one in judged if one["accepted"]]
    share = 100 * len(taken) / max(1, len(judged))
    yield f"{len(taken)} of {len(judged)} accepted ({share:.0f} %), {len(found) - len(judged)} not tried."
    yield "\n| network | input | units | seconds of CPU | why not |\n| --- | ---: | ---: | ---: | --- |"
    for one in found:
        seconds = f"{one['seconds']:.1f}" if "seconds" in one else ""
        reason = re.sub(r"\S*/site-packages/", "", one.get("reason", ""))  # where one machine has them
        cells = (one["name"], one.get("side", ""), one.get("units", ""), seconds, reason[:160])
        yield f"| {' | '.join(map(str, cells))} |"


def main(words: list[str]) -> None:
    """See the module."""
    if words[0] == "one":
        print(json.dumps(attempt(*words[1:])))
    elif words[0] == "table":
        print("\n".join(rows(Path(words[1]))))
    else:
        file = Path(words[1] if len(words) > 1 else f"benchmarks/results/doors-{words[0]}.jsonl")
        done = {json.loads(line)["name"] for line in file.read_text().splitlines()} if file.exists() else set()
        for name in builders(words[0]):
            if name not in done:
                found = _in_child(words[0], name)
                with file.open("a") as results:
                    results.write(json.dumps(found) + "\n")
                print(found, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

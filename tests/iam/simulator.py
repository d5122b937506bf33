"""Runs simulate.mjs: all questions of a test in one process, as node takes half a second to start."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

FOLDER: Final = Path(__file__).resolve().parent
_TIMEOUT_S: Final = 240

Document = Mapping[str, Any]


def require_simulator() -> None:
    """Skip the test where the simulator is not installed, and say how it comes to be."""
    if not (FOLDER / "node_modules" / ".trimtab-lock").is_file():
        pytest.skip(
            "iam-simulate is not installed: run scripts/setup-iam-simulate (it needs Node.js and npm's registry)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One request under policies, and the verdict that is meant."""

    principal: str
    action: str
    resource: str
    account: str
    context: Mapping[str, str]
    identity: tuple[Document, ...]
    boundary: tuple[Document, ...]
    resource_policy: Document | None
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """For each group of trials: None, or the first whose verdict was another, and that verdict.

    errors: what is wrong with documents. ignored, faults: what AWS knows nothing of, by the trial's request.
    """

    groups: tuple[tuple[int, str] | None, ...]
    errors: Sequence[str]
    ignored: Mapping[str, Sequence[str]]
    faults: Mapping[str, str]


@dataclass(slots=True)
class _Numbers:
    """Sends each thing once, and its number from then on."""

    items: list[Any] = field(default_factory=list)
    _seen: dict[str, int] = field(default_factory=dict)

    def of(self, item: Any) -> int:
        key = json.dumps(item, sort_keys=True)
        if key not in self._seen:
            self._seen[key] = len(self.items)
            self.items.append(item)
        return self._seen[key]


def universe(services: Sequence[str]) -> dict[str, list[str]]:
    """Return every action of some services, with the types of what it acts on: {"s3:GetObject": ["object", ...]}."""
    answer: dict[str, list[str]] = _ask({"universe": [*services]})["universe"]
    return answer


def simulate(groups: Iterable[Sequence[Trial]], *, check: bool = False) -> Answer:
    """Try groups of trials; each ends at its first surprise. `check` also asks what AWS knows nothing of."""
    documents, requests = _Numbers(), _Numbers()
    asked = [[_asked(trial, documents, requests) for trial in group] for group in groups]
    question = {"documents": documents.items, "requests": requests.items, "groups": asked, "check": check}
    answer = _ask(question)
    return Answer(
        groups=tuple(None if group is None else (group[0], group[1]) for group in answer["groups"]),
        errors=[f"{documents.items[int(n)]}: {message}" for n, message in answer["errors"].items()],
        ignored={json.dumps(requests.items[int(n)]): keys for n, keys in answer["ignored"].items()},
        faults={json.dumps(requests.items[int(n)]): message for n, message in answer["faults"].items()},
    )


def _asked(trial: Trial, documents: _Numbers, requests: _Numbers) -> list[Any]:
    request = {
        "principal": trial.principal,
        "action": trial.action,
        "resource": trial.resource,
        "account": trial.account,
        "context": trial.context,
    }
    kind = "trust" if trial.action.startswith("sts:") else "resource"
    return [
        requests.of(request),
        [documents.of({"kind": "identity", "policy": policy}) for policy in trial.identity],
        [documents.of({"kind": "identity", "policy": policy}) for policy in trial.boundary],
        None if trial.resource_policy is None else documents.of({"kind": kind, "policy": trial.resource_policy}),
        trial.verdict,
    ]


def _ask(question: Mapping[str, Any]) -> Any:
    done = subprocess.run(
        ["node", "simulate.mjs"], cwd=FOLDER, input=json.dumps(question), capture_output=True, text=True, check=False,
        timeout=_TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

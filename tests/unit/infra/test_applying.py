"""What the embedded engine does with one change, and how it stops when AWS does not do its part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from infra import embedded, engine
from infra.engine import Change, Declared
from infra.kinds import Clients
from infra.stack_state import Held, StackState
from tests.support.catalogues import text
from trimtab.errors import ProgramError

POLICY: Final = {"Version": "2012-10-17", "Statement": [{"Sid": "Read", "Effect": "Allow"}]}
ACCESS: Final = Declared(
    type="aws:iam/rolePolicy:RolePolicy",
    id="tides:access",
    name="modal-tides-access",
    wanted={"role": "tides", "policy": POLICY},
    protect=False,
    retain_on_delete=False,
)
CREATE: Final = Change(action="create", type=ACCESS.type, id=ACCESS.id, name=ACCESS.name, declared=ACCESS)


class Iam:
    """Holds one role policy; `shows` is what it shows instead of that, `refuses` the code of its refusal."""

    def __init__(self, *, shows: Any = None, refuses: str = "") -> None:
        self._shows, self._refuses = shows, refuses
        self.calls: list[str] = []
        self._policy: Any = None

    def put_role_policy(self, *, PolicyDocument: str, **_: Any) -> None:  # noqa: N803 - IAM's own spelling
        """Keep it, or refuse."""
        self.calls.append("put")
        if self._refuses:
            raise ClientError({"Error": {"Code": self._refuses, "Message": "too long"}}, "PutRolePolicy")
        self._policy = json.loads(PolicyDocument)

    def get_role_policy(self, **_: Any) -> dict[str, Any]:
        """Show it."""
        self.calls.append("get")
        return {"PolicyDocument": self._shows or self._policy}

    def delete_role_policy(self, **_: Any) -> None:
        """Drop it."""
        self.calls.append("delete")


def apply(change: Change, iam: Iam, *held: Held) -> tuple[StackState, list[StackState], list[str]]:
    """Return the state after a change, each state that was saved, and what was said."""
    saved, said = list[StackState](), list[str]()
    clients: Any = Clients(s3=None, iam=iam)  # type: ignore[arg-type]  # S3 is not asked
    state = StackState(generation="g", held=held)
    return engine.apply([change], state, clients, save=saved.append, say=said.append), saved, said


def test_a_resource_is_recorded_before_it_is_made_and_again_after() -> None:
    iam = Iam()
    state, saved, said = apply(CREATE, iam)
    assert iam.calls == ["put", "get"]
    assert [[held.settled for held in one.held] for one in saved] == [[False], [True]]
    assert saved[-1] == state
    assert said == ["done: create modal-tides-access (tides:access)"]


def test_what_does_not_become_as_declared_stops_the_run_and_says_what_to_teach() -> None:
    wider = {**POLICY, "Statement": [{"Sid": "Read", "Effect": "Deny"}]}
    with pytest.raises(ProgramError, match="does not hold modal-tides-access as it is declared") as stopped:
        apply(CREATE, Iam(shows=wider))
    assert stopped.value.why == "policy.Statement[Read].Effect is 'Deny', not 'Allow'"
    assert "aws:iam/rolePolicy:RolePolicy" in stopped.value.remedy


def test_what_is_refused_stops_the_run_in_three_parts_and_stays_unsettled() -> None:
    saved: list[StackState] = []
    clients: Any = Clients(s3=None, iam=Iam(refuses="LimitExceeded"))  # type: ignore[arg-type]
    with pytest.raises(ProgramError, match="did not create modal-tides-access") as stopped:
        engine.apply([CREATE], StackState(generation="g"), clients, save=saved.append, say=print)
    assert "LimitExceeded" in stopped.value.why
    assert [[held.settled for held in state.held] for state in saved] == [[False]]


@pytest.mark.parametrize(("retained", "calls"), [(False, ["delete"]), (True, [])])
def test_what_is_retained_is_only_forgotten_and_everything_else_deleted(
    retained: bool,  # noqa: FBT001 - a parameter of the test
    calls: list[str],
) -> None:
    iam = Iam()
    held = Held(
        type=ACCESS.type, id=ACCESS.id, name=ACCESS.name, protect=False, retain_on_delete=retained, settled=True
    )
    (change,) = engine.removals([held])
    state, saved, said = apply(change, iam, held)
    assert (iam.calls, state.held, saved) == (calls, (), [state])
    assert said == [f"done: {'forget' if retained else 'delete'} modal-tides-access (tides:access)"]


@pytest.mark.parametrize(("verb", "code"), [("import", 3), ("destroy", 0)])
def test_where_no_embedded_aws_runs_there_is_nothing_to_adopt_and_nothing_to_take_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, code: int
) -> None:
    (tmp_path / "trimtab.yaml").write_text(text())
    words = ["--catalogue", str(tmp_path / "trimtab.yaml"), "--state-dir", str(tmp_path / "aws")]
    assert embedded.main([verb, *words]) == code
    said = capsys.readouterr().err
    assert "nothing to adopt" in said if code else "stack dev holds nothing on the embedded AWS" in said


def test_a_dry_run_where_nothing_runs_leaves_the_state_file(tmp_path: Path) -> None:
    (tmp_path / "trimtab.yaml").write_text(text())
    words = ["--catalogue", str(tmp_path / "trimtab.yaml"), "--state-dir", str(tmp_path)]
    state = tmp_path / "stack-dev.json"
    state.write_text("{}")
    assert embedded.main(["destroy", "--dry-run", *words]) == 0
    assert state.exists()
    assert embedded.main(["destroy", *words]) == 0
    assert not state.exists()

"""What a person reads of a verb's answer, and how a verb that fails or is interrupted ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from botocore.exceptions import EndpointConnectionError

from infra.outcome import Outcome, answer, drift_failure
from trimtab.console import Console
from trimtab.errors import UsageError

Capture = pytest.CaptureFixture[str]
WIDENED: dict[str, Any] = {
    "action": "update",
    "type": "aws:iam/rolePolicy:RolePolicy",
    "name": "modal-tides-access",
    "id": "modal-tides:access",
    "fields": ["policy"],
    "differences": [{"field": "policy.Statement[ReadData].Effect", "declared": "Allow", "there": None}],
}
OUTPUTS = {"bucket": "harbour-charts-dev", "modal_role_arns": {"tides": "arn:aws:iam::1:role/modal tides"}}


def outcome(**fields: Any) -> Outcome:
    return Outcome(**{"stack": "dev", "engine": "embedded", "endpoint_url": None, **fields})


def fails_with(error: BaseException) -> Callable[[], NoReturn]:
    def verb() -> NoReturn:
        raise error

    return verb


def test_changes_are_a_table_with_each_difference_below_it(capsys: Capture) -> None:
    assert answer(Console(), lambda: outcome(changes=[WIDENED])) == 0
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert lines[0] == ["Stack", "dev"]
    assert ["update", "modal-tides-access", "modal-tides:access", "policy"] in lines
    assert 'modal-tides-access: policy.Statement[ReadData].Effect: declared "Allow", there is nothing\n' in printed


def test_no_changes_are_said_to_be_none(capsys: Capture) -> None:
    assert answer(Console(), lambda: outcome(changes=[])) == 0
    assert capsys.readouterr().out.splitlines()[0].rstrip() == "Stack dev: nothing to change"


def test_outputs_are_a_line_each_and_no_table_where_nothing_changes(capsys: Capture) -> None:
    assert answer(Console(), lambda: outcome(outputs=OUTPUTS)) == 0
    assert capsys.readouterr().out == (
        "bucket: harbour-charts-dev\nmodal_role_arns.tides: arn:aws:iam::1:role/modal tides\n"
    )


def test_outputs_for_a_shell_are_quoted_and_say_where_the_embedded_aws_is(capsys: Capture) -> None:
    where = "http://127.0.0.1:4566"
    assert answer(Console(), lambda: outcome(outputs=OUTPUTS, endpoint_url=where, as_environment=True)) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"TRIMTAB_ENDPOINT_URL={where}",
        "TRIMTAB_BUCKET=harbour-charts-dev",
        "TRIMTAB_ROLE_TIDES='arn:aws:iam::1:role/modal tides'",
    ]


def test_a_stack_without_outputs_prints_none(capsys: Capture) -> None:
    assert answer(Console(), outcome) == 0
    assert capsys.readouterr().out == ""


def test_notes_are_beside_the_result_and_not_in_it(capsys: Capture) -> None:
    assert answer(Console(), lambda: outcome(notes=("the provider is made here",), outputs={"bucket": "b"})) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("bucket: b\n", "note: the provider is made here\n")


def test_drift_is_shown_whole_before_it_fails_with_5(capsys: Capture) -> None:
    failure = drift_failure("dev", [WIDENED], up="trimtab infra up")
    assert answer(Console(), lambda: outcome(changes=[WIDENED], failure=failure)) == 5
    printed = capsys.readouterr()
    assert "modal-tides-access" in printed.out
    assert "error: stack dev is not as it is declared: 1 resource\n" in printed.err
    assert "modal-tides-access (modal-tides:access) differs" in printed.err


def test_what_is_there_and_not_declared_is_drift_as_well() -> None:
    extra = {**WIDENED, "action": "delete", "differences": []}
    failure = drift_failure("dev", [WIDENED, extra], up="trimtab infra up")
    assert failure is not None
    assert failure.what.endswith("2 resources")
    assert failure.why.endswith("modal-tides-access (modal-tides:access) is there, and not declared")


def test_a_refusal_ends_with_its_own_code_and_its_three_parts(capsys: Capture) -> None:
    assert answer(Console(), fails_with(UsageError("no stack", why="none is named", remedy="name one"))) == 2
    assert capsys.readouterr().err.splitlines() == ["error: no stack", "  why:  none is named", "  next: name one"]


@pytest.mark.parametrize(
    ("error", "what", "why", "code"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/state/stack-dev.json"),
            "/state/stack-dev.json",
            "No space",
            6,
        ),
        (OSError("the disk went away"), "the state", "the disk went away", 4),
    ],
)
def test_a_state_that_cannot_be_written_names_the_file(
    capsys: Capture, error: OSError, what: str, why: str, code: int
) -> None:
    assert answer(Console(), fails_with(error)) == code
    said = capsys.readouterr().err
    assert f"error: {what} cannot be read or written\n  why:  {why}" in said
    assert "it goes on from here" in said


def test_an_aws_that_does_not_answer_is_4_and_no_traceback(capsys: Capture) -> None:
    def silent() -> NoReturn:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    assert answer(Console(), silent) == 4
    assert "AWS could not be read" in capsys.readouterr().err


def test_an_interrupt_is_130_and_says_that_the_same_command_goes_on(capsys: Capture) -> None:
    assert answer(Console(), fails_with(KeyboardInterrupt())) == 130
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "interrupted; the same command goes on from here\n")


def test_what_is_nobody_s_mistake_but_ours_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        answer(Console(), fails_with(ZeroDivisionError()))

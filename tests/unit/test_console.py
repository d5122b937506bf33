"""The console: results apart from progress, plain where nobody looks, one JSON document for a script."""

from __future__ import annotations

import json
import os
import sys

import pytest

from tests.support.terminal import shown_on_terminal
from trimtab.console import Console
from trimtab.errors import BudgetError, HealthError

ODD_NAMES = ("[bold]x[/bold]", "a[/]b", "image:camera:cpu", "tests[param0]/x", "50% [1/2]", "\\[", "ü→")

_EVERYTHING = """\
from trimtab.console import Console
from trimtab.errors import HealthError
console = Console()
console.say("progress", style="green")
with console.step("a [step]") as say:
    say("a [line]")
console.table("A table", ("name", "size"), [("x", "1")], right=1)
console.line("a line")
console.failure(HealthError("what", why="why", remedy="next"))
"""


def error() -> HealthError:
    return HealthError("it [failed]", why="because", remedy="do this")


def test_progress_goes_to_standard_error_and_results_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say("progress")
    console.line("result")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("result\n", "progress\n")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_is_printed_as_it_is_wherever_it_stands(capsys: pytest.CaptureFixture[str], name: str) -> None:
    console = Console()
    console.say(name)
    console.line(name)
    console.table(name, (name,), [(name,)])
    console.failure(HealthError(name, why=name, remedy=name))
    with console.step(name) as say:
        say(name)
    captured = capsys.readouterr()
    assert captured.out.count(name) == 4
    assert captured.err.count(name) == 6


def test_a_long_line_is_not_broken_where_a_program_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/a very long path" * 40
    console = Console()
    console.line(path)
    console.say(path)
    console.failure(HealthError(path, why=path, remedy=path))
    captured = capsys.readouterr()
    assert captured.out == path + "\n"
    assert path in captured.err.splitlines()


def test_a_failure_has_its_three_parts_on_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Console().failure(error())
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["error: it [failed]", "  why:  because", "  next: do this"]
    assert captured.out == ""


def test_as_json_the_result_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=True)
    console.say("progress")
    console.result({"a": [1, "ü"]}, text=lambda: pytest.fail("no text was asked for"))
    assert json.loads(capsys.readouterr().out) == {"a": [1, "ü"]}


def test_as_text_the_result_is_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.result({"a": 1}, text=lambda: console.line("in words"))
    assert capsys.readouterr().out == "in words\n"


def test_as_json_a_failure_is_one_document_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    Console(as_json=True).failure(error())
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "error": {"what": "it [failed]", "why": "because", "next": "do this", "exit": 7}
    }
    assert captured.err.startswith("error: it [failed]")


def test_a_result_that_is_a_failure_is_still_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=True)
    failure = BudgetError("too large", why="because", remedy="do this")
    with pytest.raises(BudgetError) as caught:
        console.result({"fits": False}, text=lambda: None, failure=failure)
    Console(as_json=True).failure(caught.value)
    document = json.loads(capsys.readouterr().out)
    assert document["fits"] is False
    assert document["error"]["exit"] == 6


def test_columns_of_numbers_are_set_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table("Sizes", ("name", "size"), [("a", "1 B"), ("b", "1000 B")], right=1)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.rstrip().endswith("   1 B") for line in lines)
    assert len({len(line.rstrip()) for line in lines if line.rstrip().endswith(" B")}) == 1


def test_into_a_pipe_no_escape_sequence_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say("progress", style="green")
    with console.step("a step") as say:
        say("a line")
    console.table("A table", ("name",), [("x",)])
    console.failure(error())
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err


def test_on_a_terminal_there_is_colour() -> None:
    shown = shown_on_terminal((sys.executable, "-c", _EVERYTHING), env=terminal_environment())
    assert "\x1b[32mprogress" in shown
    assert "\x1b[1;31merror: what" in shown
    assert "a [step]" in shown


def test_no_color_is_honoured_on_a_terminal() -> None:
    shown = shown_on_terminal((sys.executable, "-c", _EVERYTHING), env={**terminal_environment(), "NO_COLOR": "1"})
    assert "progress" in shown
    assert "\x1b[32m" not in shown
    assert ";31m" not in shown


def test_a_dumb_terminal_gets_no_escape_sequence() -> None:
    shown = shown_on_terminal((sys.executable, "-c", _EVERYTHING), env={**terminal_environment(), "TERM": "dumb"})
    assert "progress" in shown
    assert "\x1b[3" not in shown


def terminal_environment() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    return {**ours, "TERM": "xterm-256color", "COLUMNS": "120"}

"""What is understood: deploy.sh's flags, the commands and their help, and what is refused with a hint."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from trimtab.cli.main import FLAGS, command_line, trimtab

WITH_EXAMPLES = {"", "local", "infra", "images build", "train"}


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Yield every command with the words that call it, groups included."""
    waiting: list[tuple[str, click.Command]] = [("", trimtab)]
    while waiting:
        words, command = waiting.pop()
        yield words, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                waiting.append((f"{words} {name}".strip(), inner))


COMMANDS = dict(every_command())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--local", "local"),
        ("--local --dry-run", "local --dry-run"),
        ("--provision --embedded", "infra up --embedded"),
        ("--build", "images build"),
        ("--build gulls --json", "images build gulls --json"),
        ("--train tides", "train tides"),
        ("--status --json", "status --json"),
        ("--down", "down"),
        ("--json --status", "status --json"),
        ("--catalogue x.yaml --build gulls", "images build --catalogue x.yaml gulls"),
        ("plan --json", "plan --json"),
        ("--help", "--help"),
        ("", ""),
        ("train -- --local", "train -- --local"),
    ],
)
def test_the_flags_of_deploy_sh_mean_commands(flags: str, words: str) -> None:
    assert command_line(flags.split()) == words.split()


@given(st.lists(st.sampled_from(["plan", "images", "build", "--json", "--dry-run", "x"])))
def test_words_without_a_flag_are_left_alone(words: list[str]) -> None:
    assert command_line(words) == words


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_means_a_command_that_there_is(flag: str) -> None:
    assert " ".join(takewhile(lambda word: not word.startswith("-"), FLAGS[flag])) in COMMANDS


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_help(words: str) -> None:
    answer = CliRunner().invoke(trimtab, [*words.split(), "--help"])
    assert answer.exit_code == 0
    assert "Usage: " in answer.output
    assert "--help" in answer.output


@pytest.mark.parametrize("words", COMMANDS)
def test_h_is_help_as_well(words: str) -> None:
    assert CliRunner().invoke(trimtab, [*words.split(), "-h"]).exit_code == 0


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_and_every_option_says_what_it_is(words: str) -> None:
    command = COMMANDS[words]
    assert command.help
    silent = [
        parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help and not isinstance(parameter.type, click.Choice)
    ]
    assert silent == []


@pytest.mark.parametrize("words", sorted(WITH_EXAMPLES))
def test_where_examples_are_promised_there_are_some(words: str) -> None:
    answer = CliRunner().invoke(trimtab, [*words.split(), "--help"])
    assert "Examples:\n" in answer.output
    assert f"  trimtab {words}".rstrip() in answer.output


@pytest.mark.parametrize("words", [words for words in COMMANDS if words])
def test_the_examples_of_every_help_are_commands_that_there_are(words: str) -> None:
    lines = CliRunner().invoke(trimtab, [*words.split(), "--help"]).output.splitlines()
    examples = [line.split()[1:] for line in lines if line.startswith("    trimtab ")]
    for example in examples:
        names = [word for word in example if word.isidentifier()]
        assert any(" ".join(names[:count]) in COMMANDS for count in (1, 2)), example


def test_the_first_help_names_every_command_flag_and_exit_code() -> None:
    output = CliRunner().invoke(trimtab, ["--help"]).output
    for name in (words for words in COMMANDS if words and " " not in words):
        assert f"\n  {name} " in output
    for flag in FLAGS:
        assert f"\n  {flag} " in output
    assert "Exit codes: 0 done, 1 a bug, 2 catalogue or argument wrong, 3 a tool or engine is missing," in output
    assert "4 another program failed, 5 drift, 6 a budget is exceeded, 7 a health check failed." in output


def test_nothing_in_help_was_wrapped_into_another_line() -> None:
    for words in COMMANDS:
        for line in CliRunner().invoke(trimtab, [*words.split(), "--help"], terminal_width=120).output.splitlines():
            assert len(line) <= 120, (words, line)


@pytest.mark.parametrize(("word", "near"), [("plna", "plan"), ("statsu", "status"), ("image", "images")])
def test_an_unknown_command_names_the_nearest(word: str, near: str) -> None:
    answer = CliRunner().invoke(trimtab, [word])
    assert answer.exit_code == 2
    assert f"No such command {word!r}. Did you mean {near!r}?" in answer.stderr


def test_an_unknown_command_like_no_other_is_only_refused() -> None:
    answer = CliRunner().invoke(trimtab, ["xyzzy"])
    assert answer.exit_code == 2
    assert "Did you mean" not in answer.stderr

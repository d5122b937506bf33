"""The words of a launch: both forms name the same, and what means nothing is refused before Modal hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.modal.functions import Function, load_functions
from deploy.modal.launch import Launch, read_launch, words_of
from trimtab.errors import UsageError

APP = Path(__file__).resolve().parents[3] / "deploy" / "modal" / "app.py"
FUNCTIONS = load_functions()


def function_of(*words: str, named: str = "") -> Function:
    launch = read_launch(words)
    assert launch is not None
    return launch.function(FUNCTIONS, named=named)


def test_the_words_are_those_after_the_file_of_modal_run() -> None:
    argv = ("modal", "run", "--detach", str(APP), "--action", "train")
    assert words_of(argv, APP, "deploy.modal.app") == ("", ("--action", "train"))
    assert words_of(("modal", "run", f"{APP}::train", "--resume"), APP, "m") == ("train", ("--resume",))
    assert words_of(("modal", "run", "-m", "deploy.modal.app"), APP, "deploy.modal.app") == ("", ())


def test_another_command_and_another_program_launch_nothing() -> None:
    assert words_of(("modal", "deploy", str(APP)), APP, "m") is None
    assert words_of(("modal", "run", "other.py", "--action", "train"), APP, "m") is None
    assert words_of(("python", str(APP)), APP, "m") is None


def test_both_forms_of_the_seeds_name_the_same_function() -> None:
    first = function_of("--action", "train", "--config", "a.yaml")
    second = function_of("--config-path", "a.yaml", named="train")
    assert first == second == FUNCTIONS["train"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_launched_by_its_action_and_by_its_name(name: str) -> None:
    assert function_of("--action", FUNCTIONS[name].action) == FUNCTIONS[name]
    assert function_of(named=name) == FUNCTIONS[name]


@pytest.mark.parametrize("job", sorted({function.job for function in FUNCTIONS.values()}))
def test_a_job_is_trained_by_its_name(job: str) -> None:
    found = function_of("--action", "train", "--job", job)
    assert (found.job, found.runs) == (job, "train")


def test_help_launches_nothing() -> None:
    assert read_launch(("--action", "train", "--help")) is None


def test_what_is_not_ours_is_left_to_modal_s_client() -> None:
    assert read_launch(("--colour", "red", "--action=smoke", "--no-resume")) == Launch(action="smoke")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--action", "trian"), "did you mean 'train'?"),
        (("--job", "tides"), "'tides' is no job"),
        ((), "nothing is launched"),
        (("--config", "a"), "nothing is launched"),
        (("--action", "train", "--wait", "maybe"), "'maybe' is no --wait"),
        (("--action", "train", "--config", "a", "--config-path", "b"), "say the same twice"),
        (("--action", "train", "--cap-seconds", "-3", "--run-id", "x"), "--cap-seconds -3 caps nothing"),
        (("--action", "train", "--cap-seconds", "60"), "--cap-seconds needs --run-id"),
        (("--action", "train", "--max-usd", "-3"), "--max-usd -3 caps nothing"),
        (("--action", "train", "--max-usd", "nan"), "--max-usd nan caps nothing"),
        (("--action", "train", "--max-usd", "inf"), "--max-usd inf caps nothing"),
        (("--action", "train", "--max-usd", "3", "--cap-seconds", "60", "--run-id", "x"), "each caps the run"),
        (("--action", "evaluate", "--max-usd", "3"), "--max-usd means nothing to evaluate"),
        (("--cap-seconds", "soon"), "invalid float value: 'soon'"),
        (("--action", "evaluate", "--resume"), "--resume means nothing to evaluate"),
        (("--action", "test-mamba", "--config", "a"), "--config means nothing to test-mamba"),
        (("--action", "populate-cache", "--run-id", "x"), "--run-id means nothing to populate-cache"),
    ],
)
def test_words_that_mean_nothing_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        function_of(*words)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_action_of_another_job_is_refused() -> None:
    other = next(function.job for function in FUNCTIONS.values() if function.job != FUNCTIONS["train"].job)
    with pytest.raises(UsageError, match=f"--action evaluate is not of job {other}"):
        function_of("--action", "evaluate", "--job", other)

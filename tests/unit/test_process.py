"""The one place that starts another program: its failures, limits, interrupts and secrets, on real programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from trimtab.errors import ProgramError, ToolMissingError
from trimtab.process import TAIL_LINES, Command, Completed, ProcessRunner, Secret

MIB = 1024 * 1024


def python(program: str, **options: object) -> Command:
    """Return a command that runs a Python program."""
    return Command(argv=(sys.executable, "-S", "-c", program), **options)  # type: ignore[arg-type]


def shell(script: str, **options: object) -> Command:
    """Return a command that runs a shell script."""
    return Command(argv=("sh", "-c", script), **options)  # type: ignore[arg-type]


def run(command: Command) -> Completed:
    return ProcessRunner().run(command)


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until_ended(pid: int, within_s: float = 5) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not is_alive(pid):
            return True
        time.sleep(0.02)
    return False


def test_a_program_that_ends_well_leaves_its_output_and_its_time() -> None:
    done = run(shell("printf 'one\\ntwo\\n'; sleep 0.05"))
    assert done.stdout == "one\ntwo\n"
    assert 0.05 <= done.wall_s < 5


def test_each_line_on_standard_error_is_told_as_it_comes() -> None:
    lines: list[str] = []
    ProcessRunner().run(shell("echo first >&2; echo result; printf 'no newline' >&2"), on_line=lines.append)
    assert lines == ["first", "no newline"]


def test_arguments_reach_the_program_as_they_are() -> None:
    words = ("a b", "$HOME", "*", "it's", "", "ü\n")
    program = "import sys; print(ascii(sys.argv[1:]))"
    done = run(Command(argv=(sys.executable, "-S", "-c", program, *words)))
    assert done.stdout == ascii(list(words)) + "\n"


@pytest.mark.parametrize("code", [1, 2, 7, 42, 127, 255])
def test_another_programs_failure_is_exit_code_4_and_names_its_own_code(code: int) -> None:
    with pytest.raises(ProgramError) as caught:
        run(shell(f"exit {code}", hint="ask somebody"))
    assert caught.value.exit_code == 4
    assert caught.value.what == f"`sh -c 'exit {code}'` ended with exit code {code}"
    assert caught.value.why == "it printed nothing"
    assert caught.value.remedy == "ask somebody"


@pytest.mark.parametrize("code", range(2, 8))
def test_a_program_of_this_house_keeps_its_exit_code(code: int) -> None:
    with pytest.raises(ProgramError) as caught:
        run(shell(f"exit {code}", house=True))
    assert caught.value.exit_code == code


@pytest.mark.parametrize("code", [1, 8, 130])
def test_a_code_that_means_nothing_in_this_house_is_not_kept(code: int) -> None:
    with pytest.raises(ProgramError) as caught:
        run(shell(f"exit {code}", house=True))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGTERM, "SIGTERM")])
def test_a_program_that_was_killed_names_the_signal(number: int, name: str) -> None:
    with pytest.raises(ProgramError, match=f"was ended by signal {name}"):
        run(shell(f"kill -{int(number)} $$"))


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    with pytest.raises(ProgramError, match="was ended by signal 41"):
        run(shell("kill -41 $$"))


def test_a_failure_shows_the_last_20_lines_and_no_more() -> None:
    with pytest.raises(ProgramError) as caught:
        run(shell("for i in $(seq 1 50); do echo line $i >&2; done; exit 1"))
    shown = [line.strip() for line in caught.value.why.splitlines()[1:]]
    assert shown == [f"line {number}" for number in range(31, 51)]
    assert len(shown) == TAIL_LINES


def test_a_failure_that_only_spoke_on_standard_output_shows_that() -> None:
    with pytest.raises(ProgramError) as caught:
        run(shell("for i in $(seq 1 50); do echo out $i; done; exit 1"))
    assert [line.strip() for line in caught.value.why.splitlines()[1:]] == [f"out {n}" for n in range(31, 51)]


def test_bytes_that_are_no_text_do_not_break_the_report() -> None:
    with pytest.raises(ProgramError, match="\ufffd"):
        run(shell(r"printf '\377\376 broken\n' >&2; exit 1"))


def test_a_program_that_is_not_there_is_a_missing_tool() -> None:
    with pytest.raises(ToolMissingError, match="no-such-program is not installed") as caught:
        run(Command(argv=("no-such-program", "--flag")))
    assert "`no-such-program --flag` needs it" in caught.value.why
    assert "trimtab doctor" in caught.value.remedy


def test_a_program_that_may_not_be_started_is_named_with_the_cause(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(ProgramError, match=r"script was not started") as caught:
        run(Command(argv=(str(script),)))
    assert "Permission denied" in caught.value.why


def test_a_file_that_is_no_program_is_named_with_the_cause(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(b"\0\1\2")
    script.chmod(0o755)
    with pytest.raises(ProgramError, match=r"script was not started") as caught:
        run(Command(argv=(str(script),)))
    assert "Exec format error" in caught.value.why


def test_a_folder_that_is_not_there_is_not_mistaken_for_a_missing_tool(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="sh was not started") as caught:
        run(shell("true", cwd=tmp_path / "nowhere"))
    assert "nowhere does not exist" in caught.value.why


def test_a_program_runs_in_the_folder_that_was_named(tmp_path: Path) -> None:
    assert run(shell("pwd -P", cwd=tmp_path)).stdout.strip() == str(tmp_path.resolve())


def test_the_environment_is_ours_with_what_the_command_adds() -> None:
    done = run(shell('printf "%s %s" "$HOME" "$ADDED"', env={"ADDED": "yes"}))
    assert done.stdout == f"{os.environ['HOME']} yes"


def test_standard_input_is_empty_when_none_is_given() -> None:
    assert run(shell("wc -c", timeout_s=5)).stdout.strip() == "0"


def test_a_large_input_and_a_large_output_at_once_do_not_block_each_other() -> None:
    echo = "import sys\nwhile chunk := sys.stdin.buffer.read(4096): sys.stdout.buffer.write(chunk)"
    text = b"0123456789abcde\n" * (4 * MIB // 16)
    done = run(python(echo, stdin=text, timeout_s=30))
    assert done.stdout.encode() == text


def test_a_program_that_does_not_read_its_input_is_judged_by_its_own_end() -> None:
    assert run(shell("echo fine", stdin=b"x" * (4 * MIB), timeout_s=30)).stdout == "fine\n"
    with pytest.raises(ProgramError, match="ended with exit code 3"):
        run(shell("exit 3", stdin=b"x" * (4 * MIB), timeout_s=30))


def test_much_on_both_outputs_at_once_neither_blocks_nor_is_lost() -> None:
    program = (
        "import sys\n"
        "for i in range(20000):\n"
        "    sys.stdout.write('o' * 99 + '\\n')\n"
        "    sys.stderr.write(f'{i}' + 'e' * 90 + '\\n')\n"
    )
    lines: list[str] = []
    done = ProcessRunner().run(python(program, timeout_s=60), on_line=lines.append)
    assert len(done.stdout) == 20000 * 100
    assert len(lines) == 20000
    assert lines[-1].startswith("19999e")


def test_a_line_that_never_ends_is_told_in_pieces_of_bounded_size() -> None:
    lines: list[str] = []
    program = f"import sys\nfor _ in range(32): sys.stderr.write('.' * {MIB})"
    ProcessRunner().run(python(program, timeout_s=60), on_line=lines.append)
    assert sum(map(len, lines)) == 32 * MIB
    assert max(map(len, lines)) < MIB


def test_a_program_over_its_time_is_ended_and_the_limit_is_named() -> None:
    started = time.monotonic()
    with pytest.raises(ProgramError, match="did not end") as caught:
        run(shell("echo still here >&2; exec sleep 60", timeout_s=0.3, hint="give it longer"))
    assert time.monotonic() - started < 5
    assert "its limit of 0.3 s" in caught.value.why
    assert "still here" in caught.value.why
    assert caught.value.remedy == "give it longer"


def test_the_time_limit_holds_for_a_program_that_closed_its_outputs() -> None:
    started = time.monotonic()
    with pytest.raises(ProgramError, match="did not end"):
        run(shell("exec >&- 2>&-; exec sleep 60", timeout_s=0.3))
    assert time.monotonic() - started < 5


def test_the_time_limit_holds_while_the_input_is_written() -> None:
    started = time.monotonic()
    with pytest.raises(ProgramError, match="did not end"):
        run(shell("exec sleep 60", stdin=b"x" * (4 * MIB), timeout_s=0.3))
    assert time.monotonic() - started < 5


def test_a_child_left_behind_with_our_pipes_does_not_hold_us_up(tmp_path: Path) -> None:
    started = time.monotonic()
    done = run(shell(f"sleep 60 & echo $! > {tmp_path}/pid; echo done"))
    try:
        assert done.stdout == "done\n"
        assert time.monotonic() - started < 5
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    "script",
    [
        "sleep 60 & echo $! > pid; wait",  # a shell starts background programs deaf to SIGINT
        "sleep 60 & echo $! > pid; sleep 0.1; trap '' INT TERM; while :; do sleep 60; done",
    ],
    ids=["the leader ends and its child is deaf", "the leader is deaf"],
)
def test_over_time_ends_the_whole_group(script: str, tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="did not end"):
        run(shell(script, cwd=tmp_path, timeout_s=0.5, grace_s=0.5))
    assert wait_until_ended(int((tmp_path / "pid").read_text()))


def test_an_interrupt_ends_the_whole_group(tmp_path: Path) -> None:
    program = (
        "from trimtab.process import Command, ProcessRunner\n"
        "ProcessRunner().run(Command(argv=('sh', '-c', 'sleep 60 & echo $! > pid; echo ready >&2; wait')),"
        " on_line=lambda line: print(line, flush=True))"
    )
    argv = (sys.executable, "-c", program)
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ours:
        assert ours.stdout is not None
        assert ours.stdout.readline() == b"ready\n"
        ours.send_signal(signal.SIGINT)
        _, errors = ours.communicate(timeout=20)
    assert b"KeyboardInterrupt" in errors
    assert wait_until_ended(int((tmp_path / "pid").read_text()))


def test_an_error_in_the_callers_own_code_ends_the_program_too(tmp_path: Path) -> None:
    def fail(_line: str) -> None:
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="the caller's own"):
        ProcessRunner().run(shell("echo $$ > pid; echo go >&2; exec sleep 60", cwd=tmp_path), on_line=fail)
    assert wait_until_ended(int((tmp_path / "pid").read_text()))


def test_what_an_interrupted_program_still_says_is_told_and_holds_it_up_by_no_length(tmp_path: Path) -> None:
    script = "trap 'yes saved | head -c 300000 >&2; touch tidied; exit' INT; echo go >&2; while :; do sleep 0.05; done"
    lines: list[str] = []
    with pytest.raises(ProgramError, match="did not end"):
        ProcessRunner().run(shell(script, cwd=tmp_path, timeout_s=0.5), on_line=lines.append)
    assert lines == ["go", *["saved"] * 50_000]
    assert (tmp_path / "tidied").exists()


def test_a_program_gets_the_chance_to_tidy_up_before_it_is_ended(tmp_path: Path) -> None:
    script = "trap 'echo tidied > tidied; exit' INT; echo go >&2; while :; do sleep 0.05; done"
    with pytest.raises(ProgramError, match="did not end"):
        run(shell(script, cwd=tmp_path, timeout_s=0.5))
    assert (tmp_path / "tidied").read_text() == "tidied\n"


def test_a_secret_reaches_the_program_and_is_printed_nowhere() -> None:
    secret = Secret("open-sesame")
    command = shell('echo "${#TOKEN} $(wc -c)" >&2; exit 1', env={"TOKEN": secret}, stdin=b"open-sesame")
    with pytest.raises(ProgramError, match="11 11") as caught:
        run(command)
    assert "open-sesame" not in f"{caught.value} {caught.value!r} {command} {command!r} {secret} {secret!r}"
    assert str(secret) == "***"


def test_a_secret_that_the_program_prints_is_struck_out() -> None:
    lines: list[str] = []
    with pytest.raises(ProgramError) as caught:
        ProcessRunner().run(
            shell('echo "token is $TOKEN" >&2; exit 1', env={"TOKEN": Secret("open-sesame")}), on_line=lines.append
        )
    assert lines == ["token is ***"]
    assert "open-sesame" not in str(caught.value)


def test_programs_can_be_run_from_several_threads_at_once() -> None:
    results: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda n=n: results.update({n: run(shell(f"echo {n}")).stdout})) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: f"{n}\n" for n in range(8)}

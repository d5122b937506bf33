"""A runner that starts nothing: it writes down what it is asked to run, and answers as a test tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from trimtab.process import Command, Completed


@dataclass
class RecordingRunner:
    """`answers` gives the standard output, or the failure, of a command that holds its word; else it is empty.

    `says` is what every command says on standard error.
    """

    answers: dict[str, str | Exception] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    commands: list[Command] = field(default_factory=list)

    def run(self, command: Command, *, on_line: Callable[[str], None] | None = None) -> Completed:
        self.commands.append(command)
        if on_line is not None:
            for line in self.says:
                on_line(line)
        answer = next((answer for word, answer in self.answers.items() if word in command.argv), "")
        if isinstance(answer, Exception):
            raise answer
        return Completed(stdout=answer, wall_s=0.0)

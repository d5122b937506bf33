"""A program called `pulumi` that answers each verb with a file's content, and keeps what it was called for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pulumi._version import version

_ANSWERING = """\
#!/bin/sh
case "$1" in
version) echo v{version} ;;
stack) echo "$2" >> "{folder}/verbs"; cat "{folder}/$2.json" 2> /dev/null; exit 0 ;;
*) echo "$1" >> "{folder}/verbs"; cat "{folder}/$1.json" 2> /dev/null; exit 0 ;;
esac
"""
_TELLING_ITS_VERSION = "#!/bin/sh\necho v{version}\n"


def write_program(path: Path, script: str) -> Path:
    """Write a script that may be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)
    return path


def pulumi_that_tells(path: Path, its_version: str = str(version)) -> Path:
    """Write a `pulumi` that knows its version only."""
    return write_program(path, _TELLING_ITS_VERSION.format(version=its_version))


class AnsweringPulumi:
    """It lies in `<folder>/bin`; what is not given an answer is answered with nothing."""

    def __init__(self, folder: Path, **answers: Any) -> None:
        self._folder = folder
        write_program(folder / "bin" / "pulumi", _ANSWERING.format(version=version, folder=folder))
        for verb, answer in answers.items():
            (folder / f"{verb}.json").write_text(json.dumps(answer))

    @property
    def path(self) -> str:
        """The PATH on which it comes first."""
        return f"{self._folder / 'bin'}{os.pathsep}{os.environ['PATH']}"

    @property
    def verbs(self) -> list[str]:
        """What it was called for, in order."""
        called = self._folder / "verbs"
        return called.read_text().split() if called.exists() else []

"""`python -m services.serving`: read the settings and the manifest, check the models, serve until told to stop.

Exit codes: 0 stopped by a signal, 1 a bug, 2 settings, manifest or model files are wrong, 7 a model does not answer.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from services.serving.app import create_app
from services.serving.logs import log_to_stdout
from services.serving.manifest import check_files, read_manifest
from services.serving.problems import StartError, WarmUpError
from services.serving.server import make_server
from services.serving.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType


def main(environment: Mapping[str, str]) -> int:
    """Serve; return the exit code."""
    # uvicorn stops gracefully on these and raises them again when it has: then this ends the process, with 0
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    log_to_stdout()
    failures: list[WarmUpError] = []

    def give_up(error: WarmUpError) -> None:
        failures.append(error)
        server.should_exit = True

    try:
        settings = read_settings(environment)
        manifest = read_manifest(settings.models_manifest)
        check_files(manifest, settings.models_dir)
        server = make_server(create_app(manifest, settings, on_failed_start=give_up), settings)
        server.run()
        if failures:
            raise failures[0]
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main(os.environ))

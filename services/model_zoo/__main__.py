"""`python -m services.model_zoo fetch --out DIR [--manifest FILE] [--json]`: progress to stderr, result to stdout."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from services.model_zoo.errors import ZooError
from services.model_zoo.fetch import FetchedModel, fetch_models
from services.serving.manifest import read_manifest
from services.serving.problems import StartError

SERVICES = Path(__file__).parent.parent


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code (0 done, 2 manifest, 3 npm missing, 4 npm failed, 5 not as pinned)."""
    arguments = _parser().parse_args(argv)
    try:
        paths = [arguments.manifest] if arguments.manifest else sorted(SERVICES.glob("*/models.toml"))
        models = fetch_models([read_manifest(path) for path in paths], arguments.out, say=_say)
    except (ZooError, StartError) as error:
        _say(str(error))
        return error.exit_code
    except OSError as error:
        _say(f"The models cannot be written to {arguments.out}.\n  why: {error}\n  next: Give a directory with room.")
        return 2
    sys.stdout.write(_as_json(models) if arguments.json else _as_lines(models))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.model_zoo", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    fetch = commands.add_parser("fetch", help="fetch, convert and check every model of a manifest, or of every service")
    fetch.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the .onnx files go")
    fetch.add_argument("--manifest", type=Path, metavar="FILE", help="a models.toml; left out: every service's")
    fetch.add_argument("--json", action="store_true", help="write the result as JSON")
    return parser


def _as_json(models: tuple[FetchedModel, ...]) -> str:
    return (
        json.dumps(
            {
                "models": [
                    {
                        "name": model.name,
                        "path": str(model.path),
                        "key": model.key,
                        "sha256": model.sha256,
                        "bytes": model.bytes,
                        "made": model.made,
                    }
                    for model in models
                ]
            },
            indent=2,
        )
        + "\n"
    )


def _as_lines(models: tuple[FetchedModel, ...]) -> str:
    return "".join(
        f"{model.path}  {'made' if model.made else 'already right'}  sha256 {model.sha256}\n" for model in models
    )


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())

"""`python -m workflows`: write .github/workflows/, or say where it differs. Reads the catalogue; writes that folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trimtab.catalogue import load_catalogue
from trimtab.errors import DriftError, TrimtabError
from workflows.rendered import FOLDER, differences, render

_ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    """Render the workflows; return the exit code: 0, 2 for a wrong catalogue, 5 with --check where a file differs."""
    parser = argparse.ArgumentParser(
        prog="python -m workflows",
        description="Render .github/workflows/ from trimtab.yaml.",
        epilog="examples: python -m workflows | python -m workflows --check",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; show the difference and exit with 5")
    parser.add_argument("--catalogue", type=Path, help="default: trimtab.yaml in the root")
    parser.add_argument(
        "--root", type=Path, default=_ROOT, help="the folder that holds .github/; default: this project"
    )
    options = parser.parse_args(argv)
    try:
        _write_or_check(options.root, options.catalogue or options.root / "trimtab.yaml", check=options.check)
    except TrimtabError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def _write_or_check(root: Path, catalogue: Path, *, check: bool) -> None:
    rendered = render(load_catalogue(catalogue))
    folder = root / FOLDER
    there = sorted(path for path in folder.glob("*") if path.is_file())
    found = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in there}
    wrong = [*differences(rendered, found)]
    if check and wrong:
        sys.stdout.write("\n".join(wrong) + "\n")
        raise DriftError(
            f"{FOLDER} is not what {catalogue.name} says",
            why="the difference is shown above: the catalogue or a source changed, or a file was edited by hand",
            remedy="python -m workflows, then commit the files",
        )
    if check:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path in found.keys() - rendered.keys():
        (root / path).unlink()
    for path, text in rendered.items():
        if found.get(path) != text:
            (root / path).write_text(text, encoding="utf-8")
            sys.stderr.write(f"wrote {path}\n")


if __name__ == "__main__":
    sys.exit(main())

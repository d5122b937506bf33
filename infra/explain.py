"""`python -m infra.explain`: who may do what, where, from the policies that AWS gets. Writes what `--svg` names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.rights import as_document, condition_text, refusals_of, rights_of, roles_of
from infra.rights_picture import picture
from trimtab.catalogue import Catalogue, load_catalogue
from trimtab.catalogue.model import STACKS
from trimtab.console import Console
from trimtab.errors import TrimtabError


def main(argv: Sequence[str]) -> int:
    """Print the rights, or draw them; return the exit code of the house."""
    parser = argparse.ArgumentParser(prog="python -m infra.explain")
    parser.add_argument("--catalogue", type=Path, default=Path(__file__).parent.parent / "trimtab.yaml")
    parser.add_argument("--stack", choices=STACKS, default=STACKS[0])
    parser.add_argument("--json", dest="as_json", action="store_true", help="print the result as one JSON document")
    parser.add_argument("--svg", type=Path, help="also draw it into this file")
    arguments = parser.parse_args(argv)
    console = Console(as_json=arguments.as_json)
    try:
        catalogue = load_catalogue(arguments.catalogue)
    except TrimtabError as error:
        console.failure(error)
        return error.exit_code
    if arguments.svg is not None:
        arguments.svg.write_text(picture(catalogue, arguments.stack))
        console.say(f"drew {arguments.svg}")
    console.result(as_document(catalogue, arguments.stack), text=lambda: show(catalogue, arguments.stack, console))
    return 0


def show(catalogue: Catalogue, stack: str, console: Console) -> None:
    """Print who comes in, what they may do where, and what the bucket refuses to everybody."""
    roles = roles_of(catalogue, stack)
    console.table(
        f"Stack {stack}: who comes in",
        ("role", "issuer", "claims of the token", "bounded"),
        [
            (role.name, role.issuer, "\n".join(f"{k} {v}" for k, v in role.claims.items()), "yes" * bool(role.boundary))
            for role in roles
        ],
    )
    console.table(
        "What each may do",
        ("role", "where", "actions", "only where"),
        [(right.role, right.where, ", ".join(right.actions), right.condition) for right in rights_of(catalogue, stack)],
    )
    console.table(
        "What the bucket refuses to everybody",
        ("rule", "action", "where"),
        [(s["Sid"], s["Action"], condition_text(s)) for s in refusals_of(catalogue, stack)],
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

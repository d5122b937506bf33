"""What `pulumi up` runs: the program of infra/program.py on the catalogue. Declares; touches nothing itself."""

import os
import sys
from pathlib import Path

import pulumi

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # Pulumi runs this file by itself, from infra/

from infra.program import declare  # noqa: E402 - needs the path above
from infra.tags import checked_out_commit  # noqa: E402
from trimtab.catalogue import load_catalogue  # noqa: E402
from trimtab.errors import TrimtabError  # noqa: E402

try:
    catalogue = load_catalogue(Path(os.environ.get("TRIMTAB_CATALOGUE") or ROOT / "trimtab.yaml"))
    declare(catalogue, pulumi.get_stack(), commit=checked_out_commit())
except TrimtabError as error:
    raise pulumi.RunError(str(error)) from error

#!/usr/bin/env bash
# Trimtab from a fresh clone: makes the environment once, then runs the CLI. `./deploy.sh --help` says what it does.
set -euo pipefail
TRIMTAB_ROOT=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
export TRIMTAB_ROOT
# The environment is ours to keep compiled files in; without them every command starts several times slower.
unset PYTHONDONTWRITEBYTECODE
"$TRIMTAB_ROOT/scripts/setup-venv"
[[ $# -gt 0 ]] || set -- --help
# -P: no module of the folder that we were called from is taken for one of ours.
exec "$TRIMTAB_ROOT/.venv/bin/python" -P -m trimtab "$@"

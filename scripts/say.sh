# shellcheck shell=bash
# How the scripts speak to a person; sourced by them, never run. Progress goes to stderr, results to stdout.

say() { printf '%s\n' "$*" >&2; }

# fail CODE WHAT WHY REMEDY: end with an error in its three parts. Codes as in docs/architecture.md: 3 = a tool or
# the engine is missing, 4 = another program failed.
fail() {
    printf 'error: %s\n  why: %s\n  next: %s\n' "$2" "$3" "$4" >&2
    exit "$1"
}

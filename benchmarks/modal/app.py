# ruff: noqa: INP001 - beside a script that is run by its path, not in a package
"""The trivial functions that the benchmark calls."""

import modal

app = modal.App("benchmark")


@app.function()
def double(number: int) -> int:
    return 2 * number


@app.function(max_containers=2)
@modal.concurrent(max_inputs=8)
def double_together(number: int) -> int:
    return 2 * number


@app.local_entrypoint()
def main() -> None:
    assert double.remote(21) == 42  # noqa: S101 - a benchmark of nothing is none

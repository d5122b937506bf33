"""How a run on Modal stands: `python -m deploy.modal.state CALL_ID --json`. Asks Modal; changes nothing.

Prints {"call_id", "state": "running" | "finished" | "failed", "error": text or null, "result": the run's or null}.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import modal


def state_of(call_id: str) -> dict[str, Any]:
    """Return how a call stands. Raises modal.exception.NotFoundError for one that nobody made."""
    answer: dict[str, Any] = {"call_id": call_id, "state": "finished", "error": None, "result": None}
    try:
        answer["result"] = modal.FunctionCall.from_id(call_id).get(timeout=0)
    except (TimeoutError, modal.exception.TimeoutError) as error:
        # The same class says that the call is not done and that an attempt ran out of time: that one has a message.
        is_over = isinstance(error, modal.exception.FunctionTimeoutError)
        return {**answer, "state": "failed" if is_over else "running", "error": str(error) if is_over else None}
    except (modal.exception.NotFoundError, modal.exception.AuthError, modal.exception.ConnectionError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever the function raised is its answer
        return {**answer, "state": "failed", "error": f"{type(error).__name__}: {error}"}
    return answer


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.modal.state", description="How a run on Modal stands.")
    parser.add_argument("call", metavar="CALL_ID", help="fc-..., as scripts/modal-train prints it")
    parser.add_argument("--json", action="store_true", required=True, help="as one JSON document")
    options = parser.parse_args(arguments)
    try:
        answer = state_of(options.call)
    except modal.exception.Error as error:
        sys.stderr.write(
            f"the call {options.call} cannot be asked for\n  why: {error}\n"
            "  next: check its id, and for which Modal the client is set up (MODAL_SERVER_URL, `modal token info`)\n"
        )
        return 4
    sys.stdout.write(f"{json.dumps(answer)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

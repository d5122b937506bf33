"""How a run on Modal stands: `python -m deploy.modal.state CALL_ID --json`. Asks Modal; changes nothing.

Prints {"call_id", "state", "error": text or null, "result": the run's or null}; a state is `running`, `finished`,
`failed`, `stopped` (it was cancelled) or `forgotten` (it is over, and Modal keeps results for seven days only).
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
    except modal.exception.FunctionTimeoutError as error:  # the last attempt ran out of time
        return {**answer, "state": "failed", "error": str(error)}
    except modal.exception.OutputExpiredError:
        return {**answer, "state": "forgotten", "error": "its result has expired"}
    except (TimeoutError, modal.exception.TimeoutError):  # it is not done; a subclass of the ones above
        return {**answer, "state": "running"}
    except modal.exception.RemoteError as error:
        # A cancelled call has no result but the platform's word that it was cancelled.
        return {**answer, "state": "stopped" if "cancel" in str(error).lower() else "failed", "error": str(error)}
    except (modal.exception.NotFoundError, modal.exception.AuthError, modal.exception.ConnectionError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever the function raised is its answer
        return {**answer, "state": "failed", "error": f"{type(error).__name__}: {error}"}
    return answer


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.modal.state", description="How a run on Modal stands.")
    parser.add_argument("call", metavar="CALL_ID", help="fc-..., as a launch prints it")
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

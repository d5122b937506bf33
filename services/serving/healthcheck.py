"""`python -m services.serving.healthcheck`: exit 0 when the service on this machine says that it is healthy, else 1.

For the image's HEALTHCHECK; the standard library only, so that it starts fast and the image needs no curl.
"""

from __future__ import annotations

import json
import os
import sys
from http.client import HTTPConnection, HTTPException

TIMEOUT_S = 3.0


def is_healthy(port: int) -> bool:
    """Ask GET /health once; only the status 200 with the word `healthy` itself counts."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        return response.status == 200 and json.load(response).get("status") == "healthy"
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_healthy(int(os.environ.get("PORT", "8001"))) else 1)

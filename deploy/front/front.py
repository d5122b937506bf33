"""The program inside the front's container: tells HAProxy which release is live, and switches it without a gap.

The toolkit calls it with `docker exec`; the standard library only. `/state/releases.json` is the one truth: written
whole or not at all, and HAProxy's configuration is made from it, at the start and at each switch. A switch that was
begun goes on when the caller dies. Every command prints one JSON document; 1 is its exit code when it failed.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STATE = Path(os.environ.get("FRONT_STATE", "/state"))
RUN = Path(os.environ.get("FRONT_RUN", "/run/front"))
RECORD = STATE / "releases.json"
CONFIGURATION = RUN / "haproxy.cfg"
MASTER = RUN / "master.sock"
HAPROXY = os.environ.get("FRONT_HAPROXY", "/usr/sbin/haproxy")
SWITCH_S = 10.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024

# Errors of the front's own have the form of a service's. `http-server-close`: a request never goes out on a connection
# that the service may be closing. `idle-close-on-response`: nor does a client meet one that a switch has closed.
# What only the name server does not know for a moment stays where it was.
_TEMPLATE = """\
global
    description "{description}"
    stats socket {run}/worker.sock mode 600 level admin expose-fd listeners
    hard-stop-after 120s
    maxconn 1024
    nbthread 2
    log stderr format raw local0 notice

defaults
    mode http
    log global
    option http-server-close
    option idle-close-on-response
    option dontlognull
    timeout connect 5s
    timeout client 120s
    timeout server 120s
    timeout http-request 10s
    timeout http-keep-alive 5s
{errors}

resolvers names
    nameserver engine {name_server}
    timeout resolve 1s
    hold timeout 1h
    hold refused 1h
    hold other 1h
    accepted_payload_size 8192

frontend service
    bind {address}
{live}
"""
_LIVE = """\
    default_backend live

backend live
    server {name} {target} resolvers names resolve-prefer ipv4 init-addr libc,none
"""
_NONE = "    http-request return status 503 content-type application/json hdr Retry-After 5 string '{body}'\n"
_ERRORS = {
    400: ("bad_request", "this is not HTTP", "send a request that HTTP allows"),
    408: ("request_timeout", "the request came too slowly", "send the headers within ten seconds"),
    500: ("front_failed", "the front failed", "ask again; its log says why"),
    502: ("bad_gateway", "the service ended before it had answered", "ask again; its log says why"),
    503: ("unavailable", "no release answers", "ask again soon"),
    504: ("gateway_timeout", "the service did not answer in two minutes", "ask again, or for less"),
}
_NO_RELEASE = ("no_release", "no release is live yet", "ask again soon")


def configuration(record: dict[str, Any]) -> str:
    """Return HAProxy's configuration for what the record says is live."""
    live = record["live"]
    if live is None:
        served = _NONE.format(body=_error_body(*_NO_RELEASE))
    else:
        served = _LIVE.format(name=f"release-{live['number']}", target=live["target"])
    return _TEMPLATE.format(
        description=_description(record),
        run=RUN,
        errors="\n".join(
            f"    http-error status {status} content-type application/json string '{_error_body(*parts)}'"
            + (" hdr Retry-After 1" if status == 503 else "")
            for status, parts in _ERRORS.items()
        ),
        name_server=os.environ.get("FRONT_NAME_SERVER", "127.0.0.11:53"),
        address=os.environ.get("FRONT_ADDRESS", "0.0.0.0:8000"),
        live=served.rstrip("\n"),
    )


def _description(record: dict[str, Any]) -> str:
    return "none" if record["live"] is None else f"{record['live']['number']} {record['live']['target']}"


def _error_body(code: str, message: str, hint: str) -> str:
    return json.dumps({"error": {"code": code, "message": message, "hint": hint}})


def read_record() -> dict[str, Any]:
    """Return the record: what is live, and what the toolkit keeps of each release. Empty before the first."""
    try:
        record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"live": None, "releases": []}
    return record


def write_whole(path: Path, text: str) -> None:
    """Replace a file so that a crash leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def only_writer() -> Iterator[None]:
    """Wait until no other switch is under way; the system lets go of it when a process dies."""
    with (STATE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def serve() -> None:
    """Become HAProxy, with the configuration that the record asks for: also after a restart of the machine."""
    CONFIGURATION.write_text(configuration(read_record()), encoding="utf-8")
    argv = (HAPROXY, "-W", "-S", f"{MASTER},mode,600", "-f", str(CONFIGURATION))
    os.execv(HAPROXY, argv)  # noqa: S606 - HAProxy is to be the container's first process


def switch(record: dict[str, Any]) -> dict[str, Any]:
    """Put a record in force. Traffic has moved when it returns; what is wrong with it leaves the old one in force."""
    with only_writer():
        before = read_record()
        if _description(record) == _description(before) == _in_force():
            write_whole(RECORD, json.dumps(record))
            return state()
        _require_sound(record)
        write_whole(RECORD, json.dumps(record))  # from here on it counts, whoever dies
        if not _bring_in_force(record):
            write_whole(RECORD, json.dumps(before))
            _bring_in_force(before)
            raise ValueError("HAProxy did not take the new configuration; its log says why")
        return state()


def mend() -> dict[str, Any]:
    """Bring in force what the record says, where a switch was cut off between the two."""
    with only_writer():
        record = read_record()
        deadline_s = time.monotonic() + SWITCH_S
        while _in_force() is None and time.monotonic() < deadline_s:  # it has only just started
            time.sleep(0.02)
        if _description(record) != _in_force() and not _bring_in_force(record):
            raise ValueError("HAProxy did not take the configuration of the record; its log says why")
        return state()


def state() -> dict[str, Any]:
    """Return the record, and what is in force."""
    return {"record": read_record(), "in_force": _in_force()}


def drain(within_s: float) -> dict[str, Any]:
    """Wait until the requests and connections from before the last switch have ended; they have `within_s`."""
    started_s = time.monotonic()
    while (left := _old_workers()) and time.monotonic() - started_s < within_s:
        time.sleep(0.05)
    return {"drained": not left, "seconds": round(time.monotonic() - started_s, 3)}


def ask(method: str, address: str, timeout_s: float, content_type: str = "", body: str = "") -> dict[str, Any]:
    """Make one HTTP request as a client on the service's network does. `body` is a file in STATE."""
    url = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(url.netloc, timeout=timeout_s)
    content = (STATE / body).read_bytes() if body else None
    started_s = time.monotonic()
    try:
        connection.request(method, url.path, body=content, headers={"Content-Type": content_type} if body else {})
        response = connection.getresponse()
        text = response.read(MAX_ANSWER_BYTES).decode(errors="replace")
        return {"status": response.status, "text": text, "milliseconds": (time.monotonic() - started_s) * 1000}
    except (OSError, http.client.HTTPException) as error:
        return {"error": str(error) or repr(error)}
    finally:
        connection.close()


def _require_sound(record: dict[str, Any]) -> None:
    """Refuse what HAProxy would not read, or whose name nobody knows."""
    if record["live"] is not None:
        host, _, port = record["live"]["target"].rpartition(":")
        socket.getaddrinfo(host, int(port), family=socket.AF_INET)
    candidate = RUN / "candidate.cfg"
    candidate.write_text(configuration(record), encoding="utf-8")
    checked = subprocess.run(
        (HAPROXY, "-c", "-f", str(candidate)), capture_output=True, text=True, timeout=20, check=False
    )
    if checked.returncode != 0:
        raise ValueError(f"HAProxy refuses the configuration: {checked.stderr[-500:]}")


def _bring_in_force(record: dict[str, Any]) -> bool:
    """Have HAProxy start a worker with the record's configuration, and tell whether it answers for the listener now."""
    write_whole(CONFIGURATION, configuration(record))
    _master("reload")
    deadline_s = time.monotonic() + SWITCH_S
    while time.monotonic() < deadline_s:
        if _in_force() == _description(record):
            return True
        time.sleep(0.02)
    return False


def _in_force() -> str | None:
    """Return the description of the configuration that the current worker has, None while there is none."""
    for line in _master("@1 show info").splitlines():
        key, _, value = line.partition(": ")
        if key == "description":
            return value.strip('"')
    return None


def _old_workers() -> int:
    """Return how many workers still end what they began before a switch."""
    _, _, rest = _master("show proc").partition("# old workers")
    return sum(1 for line in rest.partition("# programs")[0].splitlines() if " worker " in line)


def _master(command: str) -> str:
    """Return what HAProxy's master process answers; nothing while it starts anew."""
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(MASTER))
            connection.sendall(f"{command}\n".encode())
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                answer += chunk
    except OSError:
        return ""
    return answer.decode(errors="replace")


def carry_out(words: list[str]) -> dict[str, Any]:
    """Carry out one command and return its answer. Raises ValueError for one that there is not."""
    match words:
        case ["switch", record]:
            return switch(json.loads(record))
        case ["mend"]:
            return mend()
        case ["state"]:
            with only_writer():
                return state()
        case ["drain", within_s]:
            return drain(float(within_s))
        case ["ask", method, address, timeout_s, *body]:
            return ask(method, address, float(timeout_s), *body)
    raise ValueError(f"no such command: {words}")


def main(words: list[str]) -> int:
    """Carry out one command and print its answer, or what failed."""
    if words == ["serve"]:
        serve()
    try:
        answer, code = carry_out(words), 0
    except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        answer, code = {"failed": f"{type(error).__name__}: {error}"}, 1
    print(json.dumps(answer))  # noqa: T201 - this is how it answers
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

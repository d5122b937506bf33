# ruff: noqa: INP001 - a script that is run by its path, not a package
"""How soon a data set is here: Trimtab's cache, `aws s3 sync` and `rclone copy`, from one server, in turns.

    python benchmarks/cache/fetch.py --aws PATH --rclone PATH --nginx PATH [--wrk PATH] [--runs 5] [--only small|large]

The server is nginx with plain files below an address of S3's form and one list of them, so that it costs next to
nothing: what it gives at most is measured first (with wrk), and its processor time beside each run. Every run is a
whole process into an empty folder on the same disk ($TMPDIR), after a `sync`; ours ends when all is verified and on the
disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trimtab.storage.durable import sync_file_system
from trimtab.storage.folders import MANIFEST, encode_manifest
from trimtab.storage.manifests import FileEntry

BUCKET = "bench"
WRITTEN = 1_700_000_000
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
OURS = """
import sys, time
from pathlib import Path
import boto3
from botocore.config import Config
from trimtab.storage.caches import materialise
from trimtab.storage.objects import Place
client = boto3.client("s3", endpoint_url=sys.argv[1], config=Config(s3={"addressing_style": "path"}))
materialise(client, Place(bucket=sys.argv[2], prefix=sys.argv[3]), Path(sys.argv[4]))
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One whole process: its wall time, and until all was on the disk; processor time, the server's, memory at most."""

    wall_s: float
    on_disk_s: float
    cpu_s: float
    server_s: float
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """So many files of about so many bytes below one prefix."""

    name: str
    files: int
    size_bytes: int

    def make(self, root: Path) -> int:
        """Write the files, their list and their manifest; return all bytes."""
        folder = root / BUCKET / self.name
        folder.mkdir(parents=True)
        source, entries = random.Random(1), []  # noqa: S311 - it is to be the same every time
        for number in range(self.files):
            size = round(self.size_bytes * source.uniform(0.5, 1.5)) if self.files > 100 else self.size_bytes
            path = folder / f"{number:05d}.bin"
            piece, sha256 = source.randbytes(min(size, 2**20)), hashlib.sha256()
            with path.open("wb") as stream:  # by pieces: our own memory counts in what is measured of a child's
                for _ in range(size // 2**20 or 1):
                    sha256.update(piece)
                    stream.write(piece)
                entries.append(FileEntry(path=path.name, size_bytes=stream.tell(), sha256=sha256.hexdigest()))
            os.utime(path, (WRITTEN, WRITTEN))
        (folder / MANIFEST).write_bytes(encode_manifest(tuple(entries)))
        (root / "list").mkdir(exist_ok=True)
        (root / "list" / f"{self.name}.xml").write_text(_listing(self.name, entries))
        return sum(entry.size_bytes for entry in entries)


DATA_SETS = (
    DataSet(name="small", files=4000, size_bytes=10_000),
    DataSet(name="large", files=4, size_bytes=256 * 2**20),
)


def _listing(name: str, entries: list[FileEntry]) -> str:
    written = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(WRITTEN))
    contents = "".join(
        f"<Contents><Key>{name}/{entry.path}</Key><LastModified>{written}</LastModified>"
        f"<ETag>&quot;{WRITTEN:x}-{entry.size_bytes:x}&quot;</ETag><Size>{entry.size_bytes}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for entry in entries
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{BUCKET}</Name><Prefix>{name}/</Prefix><KeyCount>{len(entries)}</KeyCount><MaxKeys>1000</MaxKeys>"
        f"<IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
    )


@contextmanager
def server(nginx: Path, root: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """Serve a folder on a free port of loopback; give its address, and what tells its processor time so far."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lists = " ".join(
        f'if ($args ~ "prefix={data.name}") {{ rewrite ^ /list/{data.name}.xml? last; }}' for data in DATA_SETS
    )
    (root / "nginx.conf").write_text(f"""
        user root; daemon off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/error.log;
        events {{ worker_connections 1024; }}
        http {{
          client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
          uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
          access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
          open_file_cache max=8000 inactive=600s;
          types {{ application/xml xml; }} default_type application/octet-stream;
          server {{ listen 127.0.0.1:{port}; root {root}; location = /{BUCKET} {{ {lists} return 200; }}
                   location = /{BUCKET}/ {{ {lists} return 200; }} }}
        }}""")
    process = subprocess.Popen((nginx, "-p", root, "-c", root / "nginx.conf", "-e", root / "error.log"))
    try:
        _wait_for(port)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield f"http://127.0.0.1:{port}", lambda: sum(_cpu_s(pid) for pid in children)
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("nginx did not start")


def _cpu_s(pid: str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def commands(arguments: argparse.Namespace, address: str, folder: Path, name: str) -> dict[str, list[str]]:
    """Return the command of each contestant, which brings the data set `name` to the folder."""
    rclone = [arguments.rclone, "copy", f":s3:{BUCKET}/{name}", str(folder / "data")]
    return {
        "trimtab": [sys.executable, "-c", OURS, address, BUCKET, f"{name}/", str(folder / "cache")],
        "aws s3 sync": [
            arguments.aws,
            "s3",
            "sync",
            f"s3://{BUCKET}/{name}",
            str(folder / "data"),
            "--only-show-errors",
        ],
        "rclone copy": rclone,
        "rclone copy --transfers 16": [*rclone, "--transfers", "16", "--checkers", "16"],
    }


def measured(argv: list[str], address: str, root: Path, server_cpu: Callable[[], float]) -> Run:
    """Run one process to its end."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))},
        **KEYS,
        "AWS_ENDPOINT_URL": address,
        "AWS_CONFIG_FILE": str(root / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(root / "none"),
        "RCLONE_CONFIG": str(root / "none"),
        "RCLONE_S3_PROVIDER": "Other",
        "RCLONE_S3_ENDPOINT": address,
        "RCLONE_S3_ENV_AUTH": "true",
        "RCLONE_S3_LIST_VERSION": "2",
        "RCLONE_S3_NO_CHECK_BUCKET": "true",
    }
    os.sync()
    served, started = server_cpu(), time.monotonic()
    process = subprocess.Popen(argv, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - started
    sync_file_system(root)
    on_disk_s = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{argv[0]} ended with {process.returncode}")
    return Run(
        wall_s=wall_s,
        on_disk_s=on_disk_s,
        cpu_s=used.ru_utime + used.ru_stime,
        server_s=server_cpu() - served,
        peak_bytes=used.ru_maxrss * 1024,
    )


def ceiling(wrk: str, address: str, data: DataSet, root: Path) -> dict[str, float]:
    """Return what the server gives at most, to a client in C that reads the data set's files in turns."""
    script = root / "turns.lua"
    script.write_text(
        "local n = 0\nrequest = function()\n n = (n + 1) % " + str(data.files) + "\n"
        f' return wrk.format("GET", string.format("/{BUCKET}/{data.name}/%05d.bin", n))\nend\n'
    )
    argv = (wrk, "-t1", "-c8", "-d5s", "-s", script, address)
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    words = {line.split(":")[0].strip(): line.split(":")[1].strip() for line in said.splitlines() if ":" in line}
    return {"requests_per_s": float(words["Requests/sec"]), "transfer_per_s": words["Transfer/sec"]}  # type: ignore[dict-item]


def compare(arguments: argparse.Namespace, data: DataSet, work: Path) -> dict[str, object]:
    """Let all contestants fetch one data set in turns, then each a second time with nothing changed."""
    root = work / "root"
    root.mkdir(exist_ok=True)
    size_bytes = data.make(root)
    taken: dict[str, list[Run]] = {}
    again: dict[str, list[Run]] = {}
    with server(Path(arguments.nginx), root) as (address, server_cpu):
        most = ceiling(arguments.wrk, address, data, work) if arguments.wrk else None
        for number in range(arguments.runs):
            names = list(commands(arguments, address, work, data.name))
            for name in names[number % len(names) :] + names[: number % len(names)]:
                folder = work / "here"
                folder.mkdir()
                argv = commands(arguments, address, folder, data.name)[name]
                taken.setdefault(name, []).append(measured(argv, address, root, server_cpu))
                found = [path for path in folder.rglob("*.bin") if path.is_file()]
                if len(found) != data.files or sum(path.stat().st_size for path in found) != size_bytes:
                    raise SystemExit(f"{name} brought {len(found)} files")
                again.setdefault(name, []).append(measured(argv, address, root, server_cpu))
                for place, _, _ in os.walk(folder):
                    Path(place).chmod(0o755)  # ours is read-only
                shutil.rmtree(folder)
                said = f"{data.name} run {number + 1} {name}: {taken[name][-1]} again {again[name][-1].wall_s:.2f} s"
                print(said, file=sys.stderr)  # noqa: T201 - it is the progress
    rival = [run.wall_s for run in taken["aws s3 sync"]]
    rows = {
        name: {
            "wall_s": statistics.median(run.wall_s for run in runs),
            "on_disk_s": statistics.median(run.on_disk_s for run in runs),
            "fastest_s": min(run.wall_s for run in runs),
            "cpu_s": statistics.median(run.cpu_s for run in runs),
            "peak_mib": max(run.peak_bytes for run in runs) / 2**20,
            "server_s": statistics.median(run.server_s for run in runs),
            "files_per_s": data.files / statistics.median(run.wall_s for run in runs),
            "mb_per_s": size_bytes / 1e6 / statistics.median(run.wall_s for run in runs),
            "times_aws": statistics.median(theirs / run.wall_s for theirs, run in zip(rival, runs, strict=True)),
            "on_disk_times_aws": statistics.median(
                theirs.on_disk_s / run.on_disk_s for theirs, run in zip(taken["aws s3 sync"], runs, strict=True)
            ),
            "nothing_changed_s": statistics.median(run.wall_s for run in again[name]),
        }
        for name, runs in taken.items()
    }
    load = os.getloadavg()
    return {"files": data.files, "size_bytes": size_bytes, "server_at_most": most, "load": load, "rows": rows}


def main() -> None:
    """Run the comparison and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for program in ("aws", "rclone", "nginx", "wrk"):
        parser.add_argument(f"--{program}", default=shutil.which(program), help=f"default: {program} on PATH")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=[data.name for data in DATA_SETS])
    arguments = parser.parse_args()
    if missing := [name for name in ("aws", "rclone", "nginx") if not getattr(arguments, name)]:
        parser.error(f"name where these are: {', '.join(missing)}")
    result = {}
    for data in DATA_SETS:
        if arguments.only in (None, data.name):
            with tempfile.TemporaryDirectory(prefix="bench-cache-") as work:
                result[data.name] = compare(arguments, data, Path(work))
    print(json.dumps(result, indent=1))  # noqa: T201 - it is the result


if __name__ == "__main__":
    main()

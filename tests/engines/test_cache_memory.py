"""What a fetch and a verification of a large data set take of memory: their connections', whatever the files' sizes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tests.support.object_server import object_server
from trimtab.storage.folders import MANIFEST, encode_manifest
from trimtab.storage.manifests import FileEntry

if TYPE_CHECKING:
    from pathlib import Path

PREFIX: Final = "datasets/pictures/"
MIB: Final = 1024**2
LARGE: Final = 96 * MIB
# Ten connections of 1 MiB each, what reads and hashes them, and the manifest: some 14 MiB.
MOST: Final = 48 * MIB

CHILD: Final = """
import json, sys
from pathlib import Path
from tests.support.object_server import BUCKET, client_of
from trimtab.storage.caches import materialise
from trimtab.storage.objects import Place
from trimtab.storage.verification import verify

def peak():
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

endpoint, prefix, cache = sys.argv[1:]
client, place = client_of(endpoint), Place(bucket=BUCKET, prefix=prefix)
before = peak()
there = materialise(client, place, Path(cache))
fetched = peak()
assert verify(client, place).problems == ()
print(json.dumps({"files": there.files, "fetched": fetched - before, "verified": peak() - before}))
"""


def test_a_large_data_set_is_fetched_and_verified_in_little_memory(tmp_path: Path, root: Path) -> None:
    contents = {"large.bin": b"tide" * (LARGE // 4), **{f"{number:04d}": b"%d" % number for number in range(500)}}
    with object_server() as server:
        for path, content in contents.items():
            server.put(PREFIX + path, content)
        entries = sorted(
            FileEntry(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            for path, content in contents.items()
        )
        server.put(PREFIX + MANIFEST, encode_manifest(tuple(entries)))
        done = subprocess.run(
            [sys.executable, "-c", CHILD, server.endpoint, PREFIX, str(tmp_path / "cache")],
            cwd=root,
            env={**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    taken = json.loads(done.stdout)
    assert taken["files"] == len(contents)
    assert taken["fetched"] < MOST
    assert taken["verified"] < MOST

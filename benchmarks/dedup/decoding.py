# ruff: noqa: INP001 - a script that is run by its path, not a package
"""What decoders in processes of their own cost beside threads of one process, and what the largest picture takes.

    python benchmarks/dedup/decoding.py [--count 600] [--workers 2] [--runs 3]      pictures a second, in turns
    python benchmarks/dedup/decoding.py --largest [--megapixels 64]                 memory and time of one, by format

Prints one JSON document. The pictures are scikit-learn's photographs, cut, resized and saved anew.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402 - after the path
from PIL import Image  # noqa: E402 - as above

from training.dedup.decoders import Decoders, bounds_of  # noqa: E402 - as above
from training.dedup.decoding import Limits, decode, read_content  # noqa: E402 - as above
from training.dedup.frequencies import SIDE  # noqa: E402 - as above
from training.dedup.planted import photographs  # noqa: E402 - as above

LIMITS = Limits(max_pixels=64_000_000, max_file_bytes=64 * 1024**2)
KINDS = {"tiles": (96, 96, "PNG"), "web": (640, 480, "JPEG"), "photographs": (2400, 1600, "JPEG")}


def lay_out(folder: Path, kind: str, count: int) -> list[tuple[Path, str]]:
    """Write pictures of a kind, no two alike; return their paths and checksums."""
    width, height, form = KINDS[kind]
    sources = list(photographs().values())
    placed = []
    for number in range(count):
        source = sources[number % len(sources)]
        turned = source.rotate(number % 7, resample=Image.Resampling.BILINEAR).crop((20, 20, 620, 400))
        stream = io.BytesIO()
        turned.resize((width, height), Image.Resampling.BICUBIC).save(stream, form)
        path = folder / f"{kind}-{number:05d}"
        path.write_bytes(stream.getvalue())
        placed.append((path, hashlib.sha256(stream.getvalue()).hexdigest()))
    return placed


def by_threads(placed: list[tuple[Path, str]], workers: int) -> tuple[float, list[bytes]]:
    """Decode in threads of this process; return the seconds, and the pixels."""
    began = time.monotonic()

    def decoded(item: tuple[Path, str]) -> bytes:
        return decode(read_content(item[0], LIMITS, item[1]), LIMITS, SIDE).pixels.tobytes()

    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(decoded, placed))
    return time.monotonic() - began, found


def by_processes(placed: list[tuple[Path, str]], workers: int) -> tuple[float, float, list[bytes]]:
    """Decode in processes; return the seconds until the first picture and until the last, and the pixels."""
    began = time.monotonic()
    decoders = Decoders(workers, LIMITS)
    futures = [decoders.decode(path, sha256, SIDE, whole=True) for path, sha256 in placed]
    futures[0].result()
    started = time.monotonic() - began
    found = [future.result().pixels.tobytes() for future in futures]
    ended = time.monotonic() - began
    decoders.close()
    return started, ended, found


def side_by_side(count: int, workers: int, runs: int) -> list[dict[str, Any]]:
    """Measure both ways in turns, and check that they give the same pixels."""
    rows = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            placed = lay_out(Path(folder), kind, count if kind != "photographs" else count // 4)
            for _ in range(runs):
                threads_s, expected = by_threads(placed, workers)
                started_s, processes_s, found = by_processes(placed, workers)
                if found != expected:
                    raise AssertionError(f"other pixels of {kind}")
                rows.append(
                    {
                        "pictures": f"{len(placed)} {kind}",
                        "threads_s": round(threads_s, 2),
                        "processes_s": round(processes_s, 2),
                        "of_it_starting_s": round(started_s, 2),
                        "ratio": round(processes_s / threads_s, 2),
                    }
                )
    return rows


def largest(megapixels: float) -> list[dict[str, Any]]:
    """Measure what one large picture takes of a decoder, with transparency where a format has it."""
    side = int((megapixels * 1e6) ** 0.5)
    base = next(iter(photographs().values())).resize((side, side))
    alpha = Image.fromarray(np.linspace(0, 255, side * side).reshape(side, side).astype(np.uint8))
    clear = base.copy()
    clear.putalpha(alpha)
    rows = []
    for form in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "JPEG2000", "AVIF"):
        stream = io.BytesIO()
        how = {"speed": 10} if form == "AVIF" else {}
        (base if form in {"JPEG", "BMP"} else clear).save(stream, form, **how)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / form
            path.write_bytes(stream.getvalue())
            limits = Limits(max_pixels=side * side, max_file_bytes=len(stream.getvalue()))
            decoders = Decoders(1, limits)
            (number,) = decoders.process_ids
            sha256 = hashlib.sha256(stream.getvalue()).hexdigest()
            began = time.monotonic()
            error = decoders.decode(path, sha256, SIDE, whole=True).exception()
            seconds = time.monotonic() - began
            status = dict(line.split(":", 1) for line in Path(f"/proc/{number}/status").read_text().splitlines())
            peak_bytes = int(status["VmHWM"].split()[0]) * 1024
            address_bytes = int(status["VmPeak"].split()[0]) * 1024
            decoders.close()
        rows.append(
            {
                "format": form,
                "said": str(error) if error else "decoded",
                "seconds": round(seconds, 2),
                "peak_mib": peak_bytes // 1024**2,
                "bytes_a_pixel": round(peak_bytes / side**2, 1),
                "address_space_a_pixel": round(address_bytes / side**2, 1),
                "allowed_mib": bounds_of(limits).memory_bytes // 1024**2,
            }
        )
    return rows


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Time decoders.")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--largest", action="store_true")
    parser.add_argument("--megapixels", type=float, default=64)
    options = parser.parse_args()
    found = (
        largest(options.megapixels) if options.largest else side_by_side(options.count, options.workers, options.runs)
    )
    sys.stdout.write(f"{json.dumps(found, indent=1)}\n")


if __name__ == "__main__":
    main()

# ruff: noqa: INP001 - a script that is run by its path, not a package
"""Build the catalogue's services in three ways, each on a fresh engine, and compare peak disk, wall time and sizes.

usual      every image installs torch, torchvision and ultralytics; all of them are built at once
one-by-one the same images, one at a time, without cache, pruning in between: the old recipe for small disks
trimtab    `trimtab images build --push` of this checkout: one shared base, small images on it, pushed to a registry

The first two are not asked to push anything, which favours them. Every strategy is a run of its own and adds its result
to --out; with all there, --report draws the table and the chart. Needs root, Docker's programs, and docker-registry.

    python benchmarks/images/strategies.py usual --out results/
    python benchmarks/images/strategies.py trimtab --variant gpu --out results/
    python benchmarks/images/strategies.py --report --out results/
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from comparison import chart, table
from engine import Engine, Sampled, fresh_engine, registry

from trimtab.catalogue import Catalogue, load_catalogue

ROOT = Path(__file__).resolve().parents[2]
USUAL = ROOT / "benchmarks" / "images" / "usual" / "Dockerfile"
DISK_GIB = 44


def main() -> None:
    """Run one strategy, or report on all that ran."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("strategy", nargs="?", choices=sorted(STRATEGIES))
    parser.add_argument("--variant", default="cpu", help="of trimtab's images (default: cpu)")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the results")
    parser.add_argument("--report", action="store_true", help="write table.md and chart.svg from what is there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that engine, mount and bridge are taken back
    options.out.mkdir(parents=True, exist_ok=True)
    if options.strategy:
        result = measured(options.strategy, options.variant)
        name = options.strategy if options.strategy != "trimtab" else f"trimtab-{options.variant}"
        (options.out / f"{name}.json").write_text(json.dumps({"strategy": name, **result}) + "\n")
    if options.report:
        results = [json.loads(path.read_text()) for path in sorted(options.out.glob("*.json"))]
        (options.out / "table.md").write_text(table(results))
        (options.out / "chart.svg").write_text(chart(results))
        sys.stdout.write(table(results))


def measured(strategy: str, variant: str) -> dict[str, Any]:
    """Carry out a strategy on a fresh engine; return what it took."""
    catalogue = load_catalogue(ROOT / "trimtab.yaml")
    with fresh_engine(catalogue.base_image, DISK_GIB) as engine:
        start_bytes = engine.used_bytes()
        with Sampled(engine) as sampled:
            began = time.monotonic()
            images = STRATEGIES[strategy](engine, catalogue, variant)
            wall_s = time.monotonic() - began
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "start_bytes": start_bytes,
        "peak_bytes": max(used for _, used in sampled.samples),
        "end_bytes": sampled.samples[-1][1],
        "wall_s": wall_s,
        "over_base_bytes": images,
        "samples": thinned(sampled.samples),
    }


def usual(engine: Engine, catalogue: Catalogue, _variant: str) -> dict[str, int]:
    """Build everything at once."""
    builds = {
        name: subprocess.Popen(usual_argv(name, catalogue), env=engine.environment) for name in catalogue.services
    }
    failed = [name for name, build in builds.items() if build.wait() != 0]
    if failed:
        raise SystemExit(f"not built: {', '.join(failed)}")
    return {name: over_base(engine, f"usual/{name}", catalogue) for name in builds}


def one_by_one(engine: Engine, catalogue: Catalogue, _variant: str) -> dict[str, int]:
    """Build one at a time, and remove image and cache before the next."""
    sizes = {}
    for name in catalogue.services:
        subprocess.run([*usual_argv(name, catalogue), "--no-cache"], env=engine.environment, check=True)
        sizes[name] = over_base(engine, f"usual/{name}", catalogue)
        engine.docker("image", "rm", "--force", f"usual/{name}")
        engine.docker("builder", "prune", "--all", "--force")
    return sizes


def trimtab(engine: Engine, _catalogue: Catalogue, variant: str) -> dict[str, int]:
    """Build and push as a person does; everything that Trimtab keeps beside the catalogue goes elsewhere."""
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as name, registry(Path(name)) as address:
        built = subprocess.run(
            [
                str(Path(sys.executable).parent / "trimtab"), "images", "build", "--variant", variant,
                "--push", "--json",
            ],
            cwd=ROOT,
            env={**engine.environment, "TRIMTAB_STATE": f"{name}/state", "TRIMTAB_REGISTRY": address},
            check=True,
            stdout=subprocess.PIPE,
        )  # fmt: skip
    steps = json.loads(built.stdout)["steps"]
    results = [step["result"] for step in steps if step["step"].startswith("image:")]
    return {result["image"]: result["over_base_bytes"] for result in results}


STRATEGIES: dict[str, Callable[[Engine, Catalogue, str], dict[str, int]]] = {
    "usual": usual,
    "one-by-one": one_by_one,
    "trimtab": trimtab,
}


def usual_argv(name: str, catalogue: Catalogue) -> list[str]:
    """Return what builds one of the usual images."""
    return [
        "docker", "buildx", "build", "--builder", "default", "--load", "--provenance", "false", "--file", str(USUAL),
        "--tag", f"usual/{name}", "--build-arg", f"BASE={catalogue.base_image}", "--build-arg", f"SERVICE={name}",
        "--quiet", str(ROOT / "services"),
    ]  # fmt: skip


def over_base(engine: Engine, image: str, catalogue: Catalogue) -> int:
    """Return the unpacked bytes that an image adds to the base image."""
    size, base = (
        int(engine.docker("image", "inspect", "--format", "{{.Size}}", name)) for name in (image, catalogue.base_image)
    )
    return size - base


def thinned(samples: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return at most 600 samples, the highest of each stretch, so that no peak is lost."""
    step = max(1, len(samples) // 600)
    return [max(samples[at : at + step], key=lambda sample: sample[1]) for at in range(0, len(samples), step)]


if __name__ == "__main__":
    main()

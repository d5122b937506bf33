"""Draw with a finished run, and let a classifier say what it sees: how many pictures are what was asked for.

    python -m training.dit.gallery --results DIR --run-id ID --out FILE.png [--classes 3,5] [--per-class 8] [--seed 1]
                                   [--judge DIR --judge-run-id ID [--at-least 0.8]] [--json]

The judge is a finished run of the job `classifier` on the same classes, of the same size. Writes FILE.png only.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import HealthError, TrimtabError, UsageError

if TYPE_CHECKING:
    from torch import Tensor


def recognised(pictures: Tensor, labels: Tensor, classes: tuple[str, ...], *, judge: Path, run_id: str) -> list[float]:
    """Return which part of each class's pictures, uint8 (n, channels, side, side), the judge tells as that class.

    Raises UsageError when it learnt other classes, or from pictures of another kind.
    """
    import torch

    from training.classifier.config import Config
    from training.classifier.network import network_of
    from training.pictures.finished import finished_model

    record, weights = finished_model(judge, run_id, job="classifier")
    config = Config.model_validate(dict(record.config))
    knows = tuple((record.final or {})["classes"])
    if knows != classes or pictures.shape[1:] != (config.pictures.channels, *(2 * (config.pictures.side,))):
        raise UsageError(
            f"the run {run_id} cannot judge these pictures",
            why=f"it tells {', '.join(knows)} on {config.pictures.side} pixels and {config.pictures.channels} channels",
            remedy="give a judge that was trained on the same data, with the same `pictures`",
        )
    network = network_of(config, classes=len(classes))
    network.load_state_dict(weights)
    network.eval()
    with torch.inference_mode():
        right = network(pictures.to(torch.float32) / 255).argmax(1) == labels
    return [right[labels == label].float().mean().item() for label in sorted(set(labels.tolist()))]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Draw, write the picture, judge; return what is to be told."""
    import torch

    from training.dit.config import Config
    from training.dit.drawing import draw, network_of
    from training.dit.grids import as_bytes, picture_grid
    from training.pictures.finished import finished_model
    from trimtab.storage.durable import make_directory, write_whole

    record, weights = finished_model(options.results, options.run_id, job="dit")
    config = Config.model_validate(dict(record.config))
    torch.set_num_threads(config.threads)
    classes = tuple((record.final or {})["classes"])
    asked = tuple(options.classes.split(",")) if options.classes else classes
    if unknown := [name for name in asked if name not in classes]:
        raise UsageError(
            f"the run {options.run_id} cannot draw {', '.join(unknown)}",
            why=f"it learnt {', '.join(classes)}",
            remedy="name some of these with --classes, with commas between",
        )
    network = network_of(config, classes=len(classes))
    network.load_state_dict(weights)
    labels = torch.tensor([classes.index(name) for name in asked]).repeat_interleave(options.per_class)
    pictures = draw(network, labels, config=config, seed=options.seed)
    make_directory(options.out.parent.absolute())
    write_whole(options.out, picture_grid(pictures, columns=options.per_class))
    told: dict[str, Any] = {"picture": str(options.out), "classes": list(asked), "per_class": options.per_class}
    if options.judge:
        parts = recognised(as_bytes(pictures), labels, classes, judge=options.judge, run_id=options.judge_run_id)
        names = [classes[label] for label in sorted(set(labels.tolist()))]
        told["recognised"] = dict(zip(names, parts, strict=True))
    return told


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 7 when a class is recognised less often than --at-least."""
    parser = argparse.ArgumentParser(prog="python -m training.dit.gallery", description="Draw with a finished run.")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="where the run's results are")
    parser.add_argument("--run-id", required=True, metavar="ID", help="a finished run of the job dit")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the PNG to write: a row a class")
    parser.add_argument("--classes", metavar="A,B", help="which classes; default: all")
    parser.add_argument("--per-class", type=_count, default=8, metavar="N", help="pictures of each (default: 8)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the noise (default: 1)")
    parser.add_argument("--judge", type=Path, metavar="DIR", help="results that hold a finished run of the classifier")
    parser.add_argument("--judge-run-id", metavar="ID", help="that run")
    parser.add_argument("--at-least", type=float, default=0.0, metavar="PART", help="exit 7 when a class has less")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    options = parser.parse_args(arguments)
    if bool(options.judge) != bool(options.judge_run_id):
        parser.error("--judge and --judge-run-id come together")
    try:
        told = run(options)
        sys.stdout.write(f"{json.dumps(told, indent=1) if options.json else _as_text(told)}\n")
        weak = {name: part for name, part in told.get("recognised", {}).items() if part < options.at_least}
        if weak:
            raise HealthError(
                f"{len(weak)} classes are not drawn well enough",
                why=", ".join(f"{name}: {part:.0%} recognised" for name, part in weak.items()),
                remedy="train longer (optimisation.steps), or with a larger network",
            )
    except TrimtabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 1000:
        raise argparse.ArgumentTypeError("must be 1 to 1000")
    return count


def _as_text(told: dict[str, Any]) -> str:
    lines = [f"{told['picture']}: {told['per_class']} of each of {', '.join(told['classes'])}"]
    lines += [f"{name}: {part:.1%} recognised" for name, part in told.get("recognised", {}).items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

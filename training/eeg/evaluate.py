"""Measure a finished run on a split: scores, sweep, predictions, pictures. Writes RESULTS/evaluations only.

    python -m training.eeg.evaluate --config FILE --data DIR --results DIR [--run-id ID] [--split eval] [--predicted]

The configuration may differ from the training's where the trained weights do not depend on it: `detection`, say. With
`--predicted` the probabilities that were written before are measured, at other thresholds, say, and no network is run.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from training.eeg.config import Config
from training.harness.config import load_config
from trimtab.errors import TrimtabError, UsageError
from trimtab.storage.durable import make_directory, write_whole
from trimtab.storage.runs import RunRecord, read_run

if TYPE_CHECKING:
    from torch import nn

    from training.eeg.corpus import Corpus
    from training.eeg.inference import Prediction

SPLITS: Final = ("train", "dev", "eval")
_OF_THE_WEIGHTS: Final = ("signal", "network")


def evaluate(
    *,
    data: Path,
    cache: Path,
    results: Path,
    config: Path,
    run_id: str | None = None,
    split: str = "eval",
    predicted: bool = False,
) -> dict[str, Any]:
    """Measure a run's weights on a split and return the summary with `run_id` and `files`, the folder below `results`.

    Without a run id it is the run that this configuration and data name. Fills the cache where something is missing.
    With `predicted` no network is run. Raises UsageError for a run that is not there, is not finished, or whose weights
    or stored predictions do not fit the configuration.
    """
    from training.eeg.measure import measure
    from training.eeg.populate import fill
    from training.harness.identity import fresh_record

    values = load_config(config, Config)
    corpus = fill(data, cache, values.signal, values.corpus)
    chosen = corpus.of_split(split)
    if not chosen:
        raise UsageError(
            f"there is nothing in {split} to measure",
            why="the corpus has no usable recording in it",
            remedy=f"give another --split of {', '.join(SPLITS)}",
        )
    name = run_id or fresh_record("eeg", values, corpus.sha256, results, None, None).run_id
    record = _finished_run(results, name, values)
    folder = f"evaluations/eeg/{name}/{split}"
    if predicted:
        places = (results / folder, results / record.run_directory / "evaluation")
        predictions = _stored(corpus, chosen, values, split, places)
    else:
        predictions = _predicted(corpus, chosen, values, results / record.run_directory / "model.pt")
    found = measure(corpus, predictions, values, split=split)
    for path, content in found.files(folder).items():
        make_directory((results / path).parent)
        write_whole(results / path, content)
    trained_on_it = record.data_sha256 == corpus.sha256
    return {**found.summary, "run_id": name, "files": folder, "trained_on_this_corpus": trained_on_it}


def _finished_run(results: Path, name: str, config: Config) -> RunRecord:
    record = read_run(results, name)
    if record is None or record.outcome != "finished":
        raise UsageError(
            f"the run {name} cannot be measured",
            why=f"{results / 'runs'} has no record of it" if record is None else f"it is {record.outcome}",
            remedy="finish its training first, or give the id of a finished run with --run-id",
        )
    ours = config.model_dump(mode="json")
    if other := [key for key in _OF_THE_WEIGHTS if record.config.get(key) != ours[key]]:
        raise UsageError(
            f"the weights of {name} do not fit this configuration",
            why=f"they were trained with another {' and '.join(other)}",
            remedy="give the configuration of the training; detection may differ",
        )
    return record


def _predicted(corpus: Corpus, chosen: tuple[int, ...], config: Config, weights: Path) -> tuple[Prediction, ...]:
    from training.eeg.inference import predict
    from training.eeg.montage import CHANNELS
    from training.eeg.network import Detector
    from training.harness.arithmetic import Arithmetic

    arithmetic = Arithmetic(threads=config.threads, seed=config.seed, precision=config.optimisation.precision)
    network = Detector(config.network, channels=len(CHANNELS), rate_hz=corpus.rate_hz)
    _load(network, weights)
    return predict(network.to(arithmetic.device), corpus, chosen, config, arithmetic)


def _stored(
    corpus: Corpus, chosen: tuple[int, ...], config: Config, split: str, places: tuple[Path, ...]
) -> tuple[Prediction, ...]:
    """Return what was written to the first of these folders that has it, if it is of this corpus, split and stride."""
    from training.eeg.inference import Prediction
    from training.eeg.measure import origin
    from training.eeg.predictions import PROBABILITIES, read_probabilities

    path = next((one / PROBABILITIES for one in places if (one / PROBABILITIES).exists()), places[-1] / PROBABILITIES)
    stored, made_of = read_probabilities(path)
    wanted = origin(corpus, config, split=split)
    if other := [key for key in wanted if made_of.get(key) != wanted[key]]:
        raise UsageError(
            f"{path} cannot be measured",
            why=f"it was predicted with another {' and '.join(other)}",
            remedy="leave --predicted out: the network predicts anew",
        )
    return tuple(Prediction(recording=one, probabilities=stored[corpus.recordings[one].path]) for one in chosen)


def _load(network: nn.Module, path: Path) -> None:
    import torch

    try:
        network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise UsageError(
            f"{path} cannot be loaded",
            why=f"{type(error).__name__}: {error}",
            remedy="run the training's command again: it makes the file anew from its last checkpoint",
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.eeg.evaluate",
        description="Measure a finished run.",
        epilog="Example: --config configs/local/eeg.yaml --data data --results results --predicted",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="hyperparameters, YAML")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the EDF tree; only read")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="where the run is")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="default: RESULTS/cache/eeg")
    parser.add_argument("--run-id", metavar="ID", help="default: named by the configuration and the data")
    parser.add_argument("--split", choices=SPLITS, default="eval", help="what to measure it on; default: eval")
    parser.add_argument("--predicted", action="store_true", help="measure what was predicted before; run no network")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        found = evaluate(
            data=options.data,
            cache=options.cache or options.results / "cache" / "eeg",
            results=options.results,
            config=options.config,
            run_id=options.run_id,
            split=options.split,
            predicted=options.predicted,
        )
    except TrimtabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{json.dumps(found, indent=1) if options.json else _as_text(found)}\n")
    return 0


def _as_text(found: dict[str, Any]) -> str:
    from training.eeg.measure import headline

    return f"run {found['run_id']}: {headline(found)}\nfiles {found['files']}"


if __name__ == "__main__":
    sys.exit(main())

"""The training itself, one step at a time, with a state that says everything: stop anywhere, load it, and go on.

An epoch's windows and their order are a function of seed and epoch, the learning rate one of the step, and every random
draw comes from a state that the checkpoint carries: on a CPU going on is exact to the bit. Reads the cache only.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.eeg.augmentation import augmented
from training.eeg.detection import labels_of
from training.eeg.inference import predict
from training.eeg.loader import Loader, Place
from training.eeg.measure import best_threshold, measure, score_predictions, seconds_measured, sweep
from training.eeg.montage import CHANNELS
from training.eeg.network import Detector
from training.eeg.sampler import BalancedSampler, shuffled
from training.eeg.scan import cuda_kernel
from training.eeg.scoring import average_precision
from training.eeg.windows import list_windows
from training.harness.arithmetic import Arithmetic
from training.harness.descent import EpochLearner, weights_file
from training.harness.learner import Ending, Milestone
from trimtab.errors import HealthError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from training.eeg.config import Config
    from training.eeg.corpus import Corpus
    from training.eeg.inference import Prediction


class Trainer(EpochLearner[Detector]):
    """A detector being trained (training.harness.learner.Learner): an epoch is a milestone."""

    def __init__(self, config: Config, corpus: Corpus) -> None:
        """Start from step 0, or from a state with `load`. Sets torch's threads, its algorithms and its random state.

        Raises HealthError where no training window is partly in a seizure, UsageError where a split has no recording.
        """
        how = config.optimisation
        self._config, self._corpus = config, corpus
        arithmetic = Arithmetic(threads=config.threads, seed=config.seed, precision=how.precision)
        self._windows = list_windows(corpus, config.windows)
        self._train = self._windows.of("train")
        for split in ("dev", "eval"):
            if not corpus.of_split(split):
                raise UsageError(
                    f"the corpus has no usable recording in {split}",
                    why="dev chooses the best epoch, eval measures it; neither may be learnt from",
                    remedy="give the whole corpus, or a larger corpus.limit_files",
                )
        count = len(self._train)
        labelled = shuffled(count, seed=config.seed) if config.sampling.shuffled_labels else np.arange(count)
        self._labelled = self._train[labelled]  # whose label each training window has: its own, but in the control
        self.sampler = BalancedSampler(self._windows.kind[self._labelled], config.sampling, seed=config.seed)
        network = Detector(config.network, channels=len(CHANNELS), rate_hz=corpus.rate_hz)
        super().__init__(network, arithmetic, how, items=self.sampler.taken.total)
        self._ordered: tuple[int, NDArray[np.int64]] | None = None
        self._loader = Loader(corpus, samples=self._windows.samples, workers=config.loader.workers)
        self._stream: Iterator[NDArray[np.float32]] | None = None  # the rest of this epoch's batches

    @property
    def scope(self) -> str:
        """Return how far it will go, and from what."""
        taken = self.sampler.taken
        return (
            f"to epoch {self._config.optimisation.epochs} of {self.batches} steps: {taken.total} of "
            f"{self.sampler.there.total} windows, {100 * taken.seizure_part:.1f} % with seizure; "
            f"states scanned by {'mamba-ssm' if self._arithmetic.device.type == 'cuda' and cuda_kernel() else 'torch'}"
        )

    def finish(self) -> Ending:
        """Measure the best weights on patients that neither training nor the choice of weights has seen."""
        best = self._take_best()
        dev = self._predict("dev")
        found = measure(self._corpus, self._predict("eval"), self._config, split="eval")
        upper = best_threshold(sweep(self._corpus, dev, self._config.detection))
        final = {
            **found.summary,
            "tuned_on_dev": found.at(upper),
            "best_epoch": best["epoch"],
            "val_average_precision": best["average_precision"],
            "steps": self.step,
            "windows": asdict(self.sampler.taken),
        }
        files = {"model.pt": weights_file(best["weights"]), **found.files("evaluation")}
        return Ending(line=found.line, final=final, files=files)

    def _learn(self) -> tuple[float, int]:
        chosen = self._chosen(self.batch)
        signals, labels = self._signals(), self._labels(chosen)
        self.network.train()
        with self._arithmetic.mixed():
            scores = self.network(
                augmented(torch.from_numpy(signals), self._config.augmentation).to(self._arithmetic.device)
            )
        loss = functional.binary_cross_entropy_with_logits(scores.float(), labels.to(self._arithmetic.device))
        if not math.isfinite(loss.item()):
            self._check_signals(signals, chosen, loss.item())
        value = self._number(loss.item())
        self._begin_step()
        self._arithmetic.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._config.optimisation.gradient_norm)
        self._arithmetic.step(self.optimiser)
        return value, len(chosen)

    def _end_epoch(self) -> Milestone:
        predictions = self._predict("dev")
        probabilities, truth = seconds_measured(self._corpus, predictions)
        scores = score_predictions(self._corpus, predictions, self._config.detection)
        clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)
        loss = float(-np.where(truth > 0, np.log(clipped), np.log1p(-clipped)).mean(dtype=np.float64))
        measured = {
            "val_loss": self._number(loss),
            "val_average_precision": average_precision(probabilities, truth),
            "val_event_f1": scores.event.f1 or 0.0,
            "val_false_alarms_per_day": scores.event.false_per_day,
        }
        line = self._note_epoch(measured)
        self._stream = None
        precision = measured["val_average_precision"]
        if self.best is None or (precision, -loss) > (self.best["average_precision"], -self.best["loss"]):
            self._remember_best(average_precision=precision, loss=loss)
        line += f"  average precision {precision:.3f}  event F1 {measured['val_event_f1']:.3f}"
        line += f" at {measured['val_false_alarms_per_day']:.1f} false alarms in 24 h"
        return Milestone(line=line, metrics=measured)

    def load(self, state: dict[str, Any]) -> None:
        """Take a state over. The data and the configuration must be those that it was made with."""
        super().load(state)
        self._stream = None

    def _chosen(self, batch: int) -> NDArray[np.int64]:
        """Return a batch of this epoch, counted from 0: places among the training windows."""
        if self._ordered is None or self._ordered[0] != self.epoch:
            self._ordered = (self.epoch, self.sampler.order(self.epoch))
        size = self._config.optimisation.batch_size
        return self._ordered[1][batch * size : (batch + 1) * size]

    def _signals(self) -> NDArray[np.float32]:
        """Return the next batch's windows, read while the one before was learnt."""
        if self._stream is None:
            rest = range(self.batch, self.batches)
            self._stream = self._loader.stream(self._places(self._chosen(batch)) for batch in rest)
        return next(self._stream)

    def _places(self, chosen: NDArray[np.int64]) -> list[Place]:
        windows = self._train[chosen]
        recordings, starts = self._windows.recording[windows], self._windows.start[windows]
        return list(zip(recordings.tolist(), starts.tolist(), strict=True))

    def _labels(self, chosen: NDArray[np.int64]) -> Tensor:
        """Return 0 or 1 for each second of each window, float32 (n, seconds)."""
        rows = []
        for window in self._labelled[chosen]:
            recording = self._corpus.recordings[self._windows.recording[window]]
            start_s = float(self._windows.start[window]) / self._corpus.rate_hz
            rows.append(labels_of(recording.events, start_s=start_s, seconds=self._config.window_s))
        return torch.from_numpy(np.stack(rows))

    def _predict(self, split: str) -> tuple[Prediction, ...]:
        return predict(self.network, self._corpus, self._corpus.of_split(split), self._config, self._arithmetic)

    def _check_signals(self, signals: NDArray[np.float32], chosen: NDArray[np.int64], loss: float) -> None:
        """Raise HealthError naming the recording where it was the signals of a batch that were no numbers."""
        odd = np.flatnonzero(~np.isfinite(signals).all(axis=(1, 2)))
        if len(odd):
            recording = self._corpus.recordings[self._windows.recording[self._train[chosen[odd[0]]]]]
            raise HealthError(
                f"the loss is {loss} at step {self.step + 1}",
                why=f"the cached signal of {recording.path} holds what is no number",
                remedy="remove the cache and populate it again; the same command goes on from the last checkpoint",
            )

"""The training itself, one step at a time, with a state that says everything: stop anywhere, load it, and go on.

An epoch's windows and their order are a function of seed and epoch, the learning rate one of the step, and every random
draw comes from a state that the checkpoint carries: on a CPU going on is exact to the bit. Reads the cache only.
"""

from __future__ import annotations

import io
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
from training.harness.learner import Ending, Milestone
from training.harness.schedule import warmed_cosine
from trimtab.errors import HealthError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from training.eeg.config import Config
    from training.eeg.corpus import Corpus
    from training.eeg.inference import Prediction


class Trainer:
    """A detector being trained (training.harness.learner.Learner): an epoch is a milestone."""

    def __init__(self, config: Config, corpus: Corpus) -> None:
        """Start from step 0, or from a state with `load`. Sets torch's threads, its algorithms and its random state.

        Raises HealthError where no training window is partly in a seizure, UsageError where a split has no recording.
        """
        how = config.optimisation
        self._config, self._corpus = config, corpus
        self._arithmetic = Arithmetic(threads=config.threads, seed=config.seed, precision=how.precision)
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
        self.network = Detector(config.network, channels=len(CHANNELS), rate_hz=corpus.rate_hz)
        self.network.to(self._arithmetic.device)
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay
        )
        self.batches = math.ceil(self.sampler.taken.total / how.batch_size)
        self.step = self.epoch = self.batch = 0  # finished steps, finished epochs, finished batches of this epoch
        self._loss_sum = 0.0  # over the windows of this epoch so far
        self.epochs: list[dict[str, float]] = []
        self.best: dict[str, Any] | None = None  # epoch, average_precision, loss and the weights
        self._ordered: tuple[int, NDArray[np.int64]] | None = None
        self._loader = Loader(corpus, samples=self._windows.samples, workers=config.loader.workers)
        self._stream: Iterator[NDArray[np.float32]] | None = None  # the rest of this epoch's batches

    @property
    def done(self) -> bool:
        """Say whether every epoch is over."""
        return self.epoch == self._config.optimisation.epochs

    @property
    def scope(self) -> str:
        """Return how far it will go, and from what."""
        taken = self.sampler.taken
        return (
            f"to epoch {self._config.optimisation.epochs} of {self.batches} steps: {taken.total} of "
            f"{self.sampler.there.total} windows, {100 * taken.seizure_part:.1f} % with seizure; "
            f"states scanned by {'mamba-ssm' if self._arithmetic.device.type == 'cuda' and cuda_kernel() else 'torch'}"
        )

    def advance(self) -> Milestone | None:
        """Learn from the next batch. Raises HealthError, with the cause, when the loss is not a number."""
        self._train_step()
        return self._end_epoch() if self.batch == self.batches else None

    def finish(self) -> Ending:
        """Measure the best weights on patients that neither training nor the choice of weights has seen."""
        if self.best is None:
            raise AssertionError("a training that is done has had an epoch")
        self.network.load_state_dict(self.best["weights"])
        dev = self._predict("dev")
        found = measure(self._corpus, self._predict("eval"), self._config, split="eval")
        weights = io.BytesIO()
        torch.save(self.best["weights"], weights)
        upper = best_threshold(sweep(self._corpus, dev, self._config.detection))
        final = {
            **found.summary,
            "tuned_on_dev": found.at(upper),
            "best_epoch": self.best["epoch"],
            "val_average_precision": self.best["average_precision"],
            "steps": self.step,
            "windows": asdict(self.sampler.taken),
        }
        return Ending(line=found.line, final=final, files={"model.pt": weights.getvalue(), **found.files("evaluation")})

    def _train_step(self) -> None:
        how = self._config.optimisation
        chosen = self._chosen(self.batch)
        signals, labels = self._signals(), self._labels(chosen)
        self.network.train()
        with self._arithmetic.mixed():
            scores = self.network(
                augmented(torch.from_numpy(signals), self._config.augmentation).to(self._arithmetic.device)
            )
        loss = functional.binary_cross_entropy_with_logits(scores.float(), labels.to(self._arithmetic.device))
        value = loss.item()
        if not math.isfinite(value):
            raise self._not_a_number(value, signals, chosen)
        for group in self._optimiser.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self._optimiser.zero_grad(set_to_none=True)
        self._arithmetic.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), how.gradient_norm)
        self._arithmetic.step(self._optimiser)
        self._loss_sum += value * len(chosen)
        self.step += 1
        self.batch += 1

    def _end_epoch(self) -> Milestone:
        """Validate on every window of dev as it is, note the epoch, and remember the best weights so far."""
        predictions = self._predict("dev")
        probabilities, truth = seconds_measured(self._corpus, predictions)
        scores = score_predictions(self._corpus, predictions, self._config.detection)
        clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)
        loss = float(-np.where(truth > 0, np.log(clipped), np.log1p(-clipped)).mean(dtype=np.float64))
        if not math.isfinite(loss):
            raise self._not_a_number(loss)
        measured = {
            "train_loss": self._loss_sum / self.sampler.taken.total,
            "val_loss": loss,
            "val_average_precision": average_precision(probabilities, truth),
            "val_event_f1": scores.event.f1 or 0.0,
            "val_false_alarms_per_day": scores.event.false_per_day,
            "learning_rate": self.learning_rate(self.step - 1),
        }
        self.epoch, self.batch, self._loss_sum, self._stream = self.epoch + 1, 0, 0.0, None
        self.epochs.append({"epoch": self.epoch, "step": self.step, **measured})
        precision = measured["val_average_precision"]
        if self.best is None or (precision, -loss) > (self.best["average_precision"], -self.best["loss"]):
            weights = {name: value.cpu().clone() for name, value in self.network.state_dict().items()}
            self.best = {"epoch": self.epoch, "average_precision": precision, "loss": loss, "weights": weights}
        line = (
            f"epoch {self.epoch}/{self._config.optimisation.epochs}  step {self.step}"
            f"  loss {measured['train_loss']:.4f}  val loss {measured['val_loss']:.4f}"
            f"  average precision {precision:.3f}  event F1 {measured['val_event_f1']:.3f}"
            f" at {measured['val_false_alarms_per_day']:.1f} false alarms in 24 h"
        )
        metrics = {name: value for name, value in measured.items() if name.startswith("val_")}
        return Milestone(line=line, metrics=metrics)

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        how = self._config.optimisation
        steps = how.epochs * self.batches
        return warmed_cosine(step, peak=how.learning_rate, warmup_steps=how.warmup_steps, steps=steps)

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on, in tensors and plain values: `weights_only` loading takes it."""
        return {
            **self._arithmetic.state(),
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "loss_sum": self._loss_sum,
            "epochs": self.epochs,
            "best": self.best,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take a state over. The data and the configuration must be those that it was made with."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self.epoch, self.batch = state["step"], state["epoch"], state["batch"]
        self._loss_sum, self.epochs, self.best = state["loss_sum"], state["epochs"], state["best"]
        self._stream = None
        self._arithmetic.load(state)

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

    def _not_a_number(
        self, value: float, signals: NDArray[np.float32] | None = None, chosen: NDArray[np.int64] | None = None
    ) -> HealthError:
        """Return the error with its cause: the signal that was no number, or the weights that overflowed."""
        rate = self.learning_rate(max(0, self.step - 1))
        where = f"the loss is {value} at step {self.step + 1} (epoch {self.epoch + 1})"
        if signals is not None and chosen is not None:
            odd = np.flatnonzero(~np.isfinite(signals).all(axis=(1, 2)))
            if len(odd):
                recording = self._corpus.recordings[self._windows.recording[self._train[chosen[odd[0]]]]]
                return HealthError(
                    where,
                    why=f"the cached signal of {recording.path} holds what is no number",
                    remedy="remove the cache and populate it again; the same command goes on from the last checkpoint",
                )
        wrong = [name for name, tensor in self.network.named_parameters() if not torch.isfinite(tensor).all()]
        cause = f"the weights of {wrong[0]} overflowed before it" if wrong else "the scores overflowed"
        return HealthError(
            where,
            why=f"{cause}; the learning rate was {rate:.3g}",
            remedy="lower optimisation.learning_rate or raise optimisation.warmup_steps; that is a new run",
        )

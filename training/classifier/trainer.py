"""The training itself, one step at a time, with a state that says everything: stop anywhere, load it, and go on.

Resuming is exact because every random draw comes from a state that the checkpoint carries (torch's global one), the
order of an epoch is a function of seed and epoch, and the learning rate one of the step. Touches no file.
Python's and NumPy's own random states are not drawn from after the data is read, so there is nothing of them to carry.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from training.classifier.augmentation import augment
from training.classifier.evaluation import Evaluation, as_input, evaluate
from training.classifier.network import network_of
from training.harness.arithmetic import Arithmetic
from training.harness.learner import Ending, Milestone
from training.harness.schedule import warmed_cosine
from training.pictures.charts import Panel, confusion_svg, curves_svg
from trimtab.errors import HealthError

if TYPE_CHECKING:
    from training.classifier.config import Config
    from training.pictures.folder import ImageFolder, Split


class Trainer:
    """A network being trained (training.harness.learner.Learner): an epoch is a milestone."""

    def __init__(self, config: Config, data: ImageFolder) -> None:
        """Start from step 0, or from a state with `load`. Sets torch's threads, its algorithms and its random state."""
        how = config.optimisation
        self._arithmetic = Arithmetic(threads=config.threads, seed=config.seed, precision=how.precision)
        self._config, self._data = config, data
        self.network = network_of(config, classes=len(data.classes)).to(self._arithmetic.device)
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay
        )
        self.batches = math.ceil(len(data.train.labels) / how.batch_size)
        self.step = self.epoch = self.batch = 0  # finished steps, finished epochs, finished batches of this epoch
        self._loss_sum = 0.0  # over the pictures of this epoch so far
        self.epochs: list[dict[str, float]] = []
        self.best: dict[str, Any] | None = None  # epoch, val_loss and the weights

    @property
    def done(self) -> bool:
        """Say whether every epoch is over, or the patience is."""
        patience = self._config.optimisation.patience_epochs
        lost = self.best is not None and patience is not None and self.epoch - self.best["epoch"] >= patience
        return lost or self.epoch == self._config.optimisation.epochs

    @property
    def scope(self) -> str:
        """Return how far it will go at most."""
        return f"to epoch {self._config.optimisation.epochs} of {self.batches} steps"

    def advance(self) -> Milestone | None:
        """Learn from the next batch. Raises HealthError, with the cause, when the loss is not a number."""
        self._train_step()
        return self._end_epoch() if self.batch == self.batches else None

    def finish(self) -> Ending:
        """Measure the best weights on the test split, and hand them over with the pictures of how it went."""
        if self.best is None:
            raise AssertionError("a training that is done has had an epoch")
        self.network.load_state_dict(self.best["weights"])
        test = self.evaluate(self._data.test)
        weights = io.BytesIO()
        torch.save({name: value.cpu() for name, value in self.best["weights"].items()}, weights)
        final = {
            "test_accuracy": test.accuracy,
            "test_loss": test.loss,
            "best_epoch": self.best["epoch"],
            "val_loss": self.best["val_loss"],
            "steps": self.step,
            "classes": list(self._data.classes),
            "confusion": [list(row) for row in test.confusion],
            "left_out": self._data.left_out_counts,
        }
        panels = (
            Panel(title="loss", names=("train_loss", "val_loss")),
            Panel(title="accuracy", names=("val_accuracy",)),
        )
        files = {
            "model.pt": weights.getvalue(),
            "confusion.svg": confusion_svg(self._data.classes, test.confusion),
            "curves.svg": curves_svg(self.epochs, panels, kept=self.best["epoch"]),
        }
        line = f"test accuracy {test.accuracy:.4f} with the weights of epoch {self.best['epoch']}"
        return Ending(line=line, final=final, files=files)

    def evaluate(self, split: Split) -> Evaluation:
        """Measure the network as it is now. Draws nothing at random and changes nothing."""
        return evaluate(self.network, split, classes=len(self._data.classes), arithmetic=self._arithmetic)

    def _train_step(self) -> None:
        how = self._config.optimisation
        chosen = self._order()[self.batch * how.batch_size : (self.batch + 1) * how.batch_size]
        labels = self._data.train.labels[chosen]
        pictures = as_input(self._data.train.pictures[chosen], self._arithmetic.device)
        for group in self._optimiser.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self._optimiser.zero_grad(set_to_none=True)
        value = self.accumulate(augment(pictures, self._config.augmentation), labels)
        if not math.isfinite(value):
            raise self._not_a_number(value)
        self._arithmetic.step(self._optimiser)
        self._loss_sum += value * len(labels)
        self.step += 1
        self.batch += 1

    def accumulate(self, pictures: Tensor, labels: Tensor) -> float:
        """Add the gradients of the mean loss over a batch, piece after piece, and return that loss."""
        self.network.train()
        pieces, mean = self._config.optimisation.pieces, 0.0
        for some, classes in zip(pictures.chunk(pieces), labels.to(pictures.device).chunk(pieces), strict=True):
            with self._arithmetic.mixed():
                scores = self.network(some)
            loss = functional.cross_entropy(scores.float(), classes) * (len(classes) / len(labels))
            self._arithmetic.backward(loss)
            mean += loss.item()
        return mean

    def _end_epoch(self) -> Milestone:
        """Validate, note the epoch, and remember the best weights so far."""
        evaluation = self.evaluate(self._data.val)
        if not math.isfinite(evaluation.loss):
            raise self._not_a_number(evaluation.loss)
        measured = {
            "train_loss": self._loss_sum / len(self._data.train.labels),
            "val_loss": evaluation.loss,
            "val_accuracy": evaluation.accuracy,
            "learning_rate": self.learning_rate(self.step - 1),
        }
        self.epoch, self.batch, self._loss_sum = self.epoch + 1, 0, 0.0
        self.epochs.append({"epoch": self.epoch, "step": self.step, **measured})
        if self.best is None or evaluation.loss < self.best["val_loss"]:
            weights = {name: value.clone() for name, value in self.network.state_dict().items()}
            self.best = {"epoch": self.epoch, "val_loss": evaluation.loss, "weights": weights}
        line = (
            f"epoch {self.epoch}/{self._config.optimisation.epochs}  step {self.step}"
            f"  loss {measured['train_loss']:.4f}  val loss {measured['val_loss']:.4f}"
            f"  val accuracy {measured['val_accuracy']:.4f}"
        )
        chosen = {key: measured[key] for key in ("val_loss", "val_accuracy")}
        return Milestone(line=line, metrics=chosen)

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
        self._arithmetic.load(state)
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self.epoch, self.batch = state["step"], state["epoch"], state["batch"]
        self._loss_sum, self.epochs, self.best = state["loss_sum"], state["epochs"], state["best"]

    def _order(self) -> Tensor:
        """Return this epoch's order of the training pictures: a function of the seed and the epoch."""
        generator = torch.Generator().manual_seed(self._config.seed * 1_000_003 + self.epoch)
        return torch.randperm(len(self._data.train.labels), generator=generator)

    def _not_a_number(self, value: float) -> HealthError:
        wrong = [name for name, tensor in self.network.named_parameters() if not torch.isfinite(tensor).all()]
        rate = self.learning_rate(max(0, self.step - 1))
        cause = f"the weights of {wrong[0]} overflowed before it" if wrong else "the scores overflowed"
        return HealthError(
            f"the loss is {value} at step {self.step + 1} (epoch {self.epoch + 1})",
            why=f"{cause}; the learning rate was {rate:.3g}",
            remedy="lower optimisation.learning_rate or raise optimisation.warmup_steps; that is a new run",
        )

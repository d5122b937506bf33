"""The training itself, one step at a time, with a state that says everything: stop anywhere, load it, and go on.

Resuming is exact because every random draw comes from a state that the checkpoint carries (torch's global one), the
order of an epoch is a function of seed and epoch, and the learning rate one of the step. Touches no file.
Python's and NumPy's own random states are not drawn from after the data is read, so there is nothing of them to carry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.classifier.augmentation import augment
from training.classifier.evaluation import Evaluation, as_input, evaluate
from training.classifier.network import network_of
from training.harness.arithmetic import Arithmetic
from training.harness.descent import EpochLearner, weights_file
from training.harness.learner import Ending, Milestone
from training.pictures.charts import Panel, confusion_svg, curves_svg

if TYPE_CHECKING:
    from training.classifier.config import Config
    from training.pictures.folder import ImageFolder, Split


class Trainer(EpochLearner[nn.Module]):
    """A network being trained (training.harness.learner.Learner): an epoch is a milestone."""

    def __init__(self, config: Config, data: ImageFolder) -> None:
        """Start from step 0, or from a state with `load`. Sets torch's threads, its algorithms and its random state."""
        how = config.optimisation
        arithmetic = Arithmetic(threads=config.threads, seed=config.seed, precision=how.precision)
        network = network_of(config, classes=len(data.classes))
        super().__init__(network, arithmetic, how, items=len(data.train.labels))
        self._config, self._data = config, data

    @property
    def done(self) -> bool:
        """Say whether every epoch is over, or the patience is."""
        patience = self._config.optimisation.patience_epochs
        lost = self.best is not None and patience is not None and self.epoch - self.best["epoch"] >= patience
        return lost or super().done

    @property
    def scope(self) -> str:
        """Return how far it will go at most."""
        return f"to epoch {self._config.optimisation.epochs} of {self.batches} steps"

    def finish(self) -> Ending:
        """Measure the best weights on the test split, and hand them over with the pictures of how it went."""
        best = self._take_best()
        test = self.evaluate(self._data.test)
        final = {
            "test_accuracy": test.accuracy,
            "test_loss": test.loss,
            "best_epoch": best["epoch"],
            "val_loss": best["val_loss"],
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
            "model.pt": weights_file(best["weights"]),
            "confusion.svg": confusion_svg(self._data.classes, test.confusion),
            "curves.svg": curves_svg(self.epochs, panels, kept=best["epoch"]),
        }
        line = f"test accuracy {test.accuracy:.4f} with the weights of epoch {best['epoch']}"
        return Ending(line=line, final=final, files=files)

    def evaluate(self, split: Split) -> Evaluation:
        """Measure the network as it is now. Draws nothing at random and changes nothing."""
        return evaluate(self.network, split, classes=len(self._data.classes), arithmetic=self._arithmetic)

    def _learn(self) -> tuple[float, int]:
        how = self._config.optimisation
        chosen = self._order()[self.batch * how.batch_size : (self.batch + 1) * how.batch_size]
        labels = self._data.train.labels[chosen]
        pictures = as_input(self._data.train.pictures[chosen], self._arithmetic.device)
        self._begin_step()
        loss = self._number(self.accumulate(augment(pictures, self._config.augmentation), labels))
        self._arithmetic.step(self.optimiser)
        return loss, len(labels)

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
        evaluation = self.evaluate(self._data.val)
        measured = {"val_loss": self._number(evaluation.loss), "val_accuracy": evaluation.accuracy}
        line = self._note_epoch(measured)
        if self.best is None or evaluation.loss < self.best["val_loss"]:
            self._remember_best(val_loss=evaluation.loss)
        return Milestone(line=f"{line}  val accuracy {evaluation.accuracy:.4f}", metrics=measured)

    def _order(self) -> Tensor:
        """Return this epoch's order of the training pictures: a function of the seed and the epoch."""
        generator = torch.Generator().manual_seed(self._config.seed * 1_000_003 + self.epoch)
        return torch.randperm(len(self._data.train.labels), generator=generator)

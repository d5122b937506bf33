"""What is alike in every job that trains a network with AdamW: its state, its steps, what it leaves. Touches no file.

A job's trainer inherits a class of these and brings the network, the data and the measuring. Going on is exact because
all random draws come from states that a checkpoint carries, and rates and orders are functions of step, seed and epoch.
"""

from __future__ import annotations

import io
import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from training.harness.schedule import warmed_cosine
from trimtab.errors import HealthError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.harness.arithmetic import Arithmetic
    from training.harness.learner import Milestone

Network = TypeVar("Network", bound=nn.Module)


class Optimisation(Protocol):
    """The part of a configuration that AdamW needs."""

    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


class EpochOptimisation(Optimisation, Protocol):
    """That of a training in epochs, whose rate rises in a line and falls in a cosine."""

    @property
    def epochs(self) -> int: ...
    @property
    def warmup_steps(self) -> int: ...


class GradientLearner(ABC, Generic[Network]):
    """The part of a learner (training.harness.learner.Learner) that does not depend on what is learnt."""

    carried: ClassVar[tuple[str, ...]] = ("step", "loss_sum", "epochs")
    """The attributes that a state carries as they are, under their names."""
    modules: ClassVar[tuple[str, ...]] = ("network", "optimiser")
    """The attributes of which a state carries the state."""

    def __init__(self, network: Network, arithmetic: Arithmetic, how: Optimisation) -> None:
        self._arithmetic = arithmetic
        self.network = network.to(arithmetic.device)
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay)
        self.step = 0
        self.loss_sum = 0.0  # since the last milestone
        self.epochs: list[dict[str, float]] = []

    @abstractmethod
    def learning_rate(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on, in tensors and plain values: `weights_only` loading takes it."""
        return {
            **self._arithmetic.state(),
            **{name: getattr(self, name) for name in self.carried},
            **{name: getattr(self, name).state_dict() for name in self.modules},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take a state over. The data and the configuration must be those that it was made with."""
        for name in self.modules:
            getattr(self, name).load_state_dict(state[name])
        for name in self.carried:
            setattr(self, name, state[name])
        self._arithmetic.load(state)

    def _begin_step(self) -> None:
        """Set the step's learning rate, and forget the gradients of the one before."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.optimiser.zero_grad(set_to_none=True)

    def _number(self, loss: float) -> float:
        """Return a loss. Raises HealthError, with the cause, when it is no number."""
        if math.isfinite(loss):
            return loss
        wrong = [name for name, tensor in self.network.named_parameters() if not torch.isfinite(tensor).all()]
        cause = f"the weights of {wrong[0]} overflowed before it" if wrong else "what the network answers overflowed"
        raise HealthError(
            f"the loss is {loss} at step {self.step + 1}",
            why=f"{cause}; the learning rate was {self.learning_rate(max(0, self.step - 1)):.3g}",
            remedy="lower optimisation.learning_rate or raise optimisation.warmup_steps; that is a new run",
        )


class EpochLearner(GradientLearner[Network]):
    """One that goes through its data in epochs, each a milestone, and keeps the weights of the best one."""

    carried = ("step", "epoch", "batch", "loss_sum", "epochs", "best")

    def __init__(self, network: Network, arithmetic: Arithmetic, how: EpochOptimisation, *, items: int) -> None:
        """Start from step 0; an epoch has so many items."""
        super().__init__(network, arithmetic, how)
        self._how, self._items = how, items
        self.batches = math.ceil(items / how.batch_size)
        self.epoch = self.batch = 0  # finished epochs, finished batches of this epoch
        self.best: dict[str, Any] | None = None  # epoch, weights, and what was measured of them

    @property
    def done(self) -> bool:
        """Say whether every epoch is over."""
        return self.epoch == self._how.epochs

    def advance(self) -> Milestone | None:
        """Learn from the next batch. Raises HealthError, with the cause, when the loss is no number."""
        loss, items = self._learn()
        self.loss_sum += loss * items
        self.step += 1
        self.batch += 1
        return self._end_epoch() if self.batch == self.batches else None

    @abstractmethod
    def _learn(self) -> tuple[float, int]:
        """Take a step with the next batch; return its mean loss and its items."""

    @abstractmethod
    def _end_epoch(self) -> Milestone:
        """Validate, note the epoch, and remember the best weights so far."""

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        how = self._how
        steps = how.epochs * self.batches
        return warmed_cosine(step, peak=how.learning_rate, warmup_steps=how.warmup_steps, steps=steps)

    def _note_epoch(self, measured: Mapping[str, float]) -> str:
        """Note the epoch that is over, with what was measured (`val_loss` among it); return how its line begins."""
        train_loss, rate = self.loss_sum / self._items, self.learning_rate(self.step - 1)
        self.epoch, self.batch, self.loss_sum = self.epoch + 1, 0, 0.0
        row = {"train_loss": train_loss, **measured, "learning_rate": rate}
        self.epochs.append({"epoch": self.epoch, "step": self.step, **row})
        return (
            f"epoch {self.epoch}/{self._how.epochs}  step {self.step}"
            f"  loss {train_loss:.4f}  val loss {measured['val_loss']:.4f}"
        )

    def _remember_best(self, **measured: float) -> None:
        weights = {name: value.cpu().clone() for name, value in self.network.state_dict().items()}
        self.best = {"epoch": self.epoch, **measured, "weights": weights}

    def _take_best(self) -> dict[str, Any]:
        """Give the network its best weights; return them with what was measured."""
        if self.best is None:
            raise AssertionError("a training that is done has had an epoch")
        self.network.load_state_dict(self.best["weights"])
        return self.best


def weights_file(weights: Mapping[str, Tensor]) -> bytes:
    """Return weights as a file that any machine loads."""
    stream = io.BytesIO()
    torch.save({name: value.cpu() for name, value in weights.items()}, stream)
    return stream.getvalue()

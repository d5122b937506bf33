"""The training itself, one step at a time (training.harness.learner.Learner): a grid is a milestone. Touches no file.

Resuming is exact as the classifier's is: random draws come from torch's state, which the checkpoint carries, the order
of an epoch is a function of seed and epoch, and what validates and draws grids has generators of its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.dit.averaging import average, kept_part
from training.dit.drawing import draw, network_of
from training.dit.flow import draw_times, flow_loss
from training.dit.grids import picture_grid
from training.dit.network import DiffusionTransformer
from training.harness.arithmetic import Arithmetic
from training.harness.descent import GradientLearner, weights_file
from training.harness.learner import Ending, Milestone
from training.pictures.charts import Panel, curves_svg

if TYPE_CHECKING:
    from training.dit.config import Config
    from training.pictures.folder import ImageFolder, Split

_EVALUATION_BATCH = 256


class Trainer(GradientLearner[DiffusionTransformer]):
    """The network, its averaged copy (what is measured, drawn with and kept), and where the training stands."""

    carried = ("step", "loss_sum", "loss_steps", "epochs")
    modules = ("network", "averaged", "optimiser")

    def __init__(self, config: Config, data: ImageFolder) -> None:
        """Start from step 0, or from a state with `load`. Sets torch's threads, its algorithms and its random state."""
        how = config.optimisation
        arithmetic = Arithmetic(threads=config.threads, seed=config.seed, precision=how.precision)
        super().__init__(network_of(config, classes=len(data.classes)), arithmetic, how)
        self._config, self._data = config, data
        self.averaged = network_of(config, classes=len(data.classes)).to(arithmetic.device)
        self.averaged.load_state_dict(self.network.state_dict())
        self.averaged.requires_grad_(requires_grad=False)
        self.loss_steps = 0  # since the last milestone

    @property
    def done(self) -> bool:
        """Say whether every step is over."""
        return self.step >= self._config.optimisation.steps

    @property
    def scope(self) -> str:
        """Return how far it will go."""
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        return f"to step {self._config.optimisation.steps}, {parameters:,} parameters"

    def advance(self) -> Milestone | None:
        """Learn from the next batch. Raises HealthError, with the cause, when the loss is no number."""
        pictures, labels = self._batch()
        dropped = torch.rand(len(labels)) < self._config.optimisation.label_dropout
        times, noise = draw_times(len(labels)), torch.randn(pictures.shape)
        loss = self._loss(self.network, pictures, labels.where(~dropped, self.network.no_class), times, noise)
        value = self._number(loss.item())
        self._begin_step()
        self._arithmetic.backward(loss)
        self._arithmetic.step(self.optimiser)
        self.step += 1
        average(self.averaged, self.network, kept_part(self.step, self._config.optimisation.ema_decay))
        self.loss_sum, self.loss_steps = self.loss_sum + value, self.loss_steps + 1
        return self._milestone() if self.step % self._config.sampling.every_steps == 0 or self.done else None

    def finish(self) -> Ending:
        """Measure the averaged weights on the test split, draw with them, and hand both over."""
        test = self.loss_on(self._data.test)
        final = {
            "test_loss": test,
            "val_loss": self.epochs[-1]["val_loss"],
            "steps": self.step,
            "classes": list(self._data.classes),
            "left_out": self._data.left_out_counts,
        }
        files = {
            "model.pt": weights_file(self.averaged.state_dict()),
            "samples.png": self._grid(),
            "curves.svg": curves_svg(self.epochs, (Panel(title="loss", names=("train_loss", "val_loss")),)),
        }
        return Ending(line=f"test loss {test:.4f}", final=final, files=files)

    def loss_on(self, split: Split) -> float:
        """Return the averaged network's loss on a split, with noise and times that are the same each time."""
        generator = torch.Generator().manual_seed(self._config.seed)
        total = 0.0
        with torch.inference_mode():
            for start in range(0, len(split.labels), _EVALUATION_BATCH):
                part = slice(start, start + _EVALUATION_BATCH)
                pictures, labels = _as_input(split.pictures[part]), split.labels[part]
                times = torch.rand(len(labels), generator=generator)
                noise = torch.randn(pictures.shape, generator=generator)
                total += self._loss(self.averaged, pictures, labels, times, noise).item() * len(labels)
        return total / len(split.labels)

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step, counted from 0: up in a line while warming, then constant."""
        how = self._config.optimisation
        return how.learning_rate * min(1.0, (step + 1) / max(1, how.warmup_steps))

    def _loss(self, network: torch.nn.Module, pictures: Tensor, labels: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Return the loss of a batch whose draws were made on the processor, on the device and in its precision."""

        def velocity(*given: Tensor) -> Tensor:
            with self._arithmetic.mixed():
                answered: Tensor = network(*given)
            return answered.float()

        here = (tensor.to(self._arithmetic.device) for tensor in (pictures, labels, times, noise))
        return flow_loss(velocity, *here)

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Return the step's pictures and classes; an epoch's last batch may be smaller."""
        split, size = self._data.train, self._config.optimisation.batch_size
        epoch, batch = divmod(self.step, math.ceil(len(split.labels) / size))
        generator = torch.Generator().manual_seed(self._config.seed * 1_000_003 + epoch)
        chosen = torch.randperm(len(split.labels), generator=generator)[batch * size : (batch + 1) * size]
        return _as_input(split.pictures[chosen]), split.labels[chosen]

    def _milestone(self) -> Milestone:
        val_loss = self._number(self.loss_on(self._data.val))
        measured = {"train_loss": self.loss_sum / self.loss_steps, "val_loss": val_loss}
        self.loss_sum, self.loss_steps = 0.0, 0
        self.epochs.append({"epoch": len(self.epochs) + 1, "step": self.step, **measured})
        line = f"step {self.step}  loss {measured['train_loss']:.4f}  val loss {val_loss:.4f}"
        files = {f"samples/step-{self.step:09d}.png": self._grid()}
        return Milestone(line=line, metrics={"val_loss": val_loss}, files=files)

    def _grid(self) -> bytes:
        """Draw a row of pictures for each class, from the same noise each time: grids of two steps can be compared."""
        columns = self._config.sampling.per_class
        labels = torch.arange(len(self._data.classes)).repeat_interleave(columns)
        return picture_grid(draw(self.averaged, labels, config=self._config, seed=self._config.seed), columns=columns)


def _as_input(pictures: Tensor) -> Tensor:
    return pictures.to(torch.float32) / 127.5 - 1

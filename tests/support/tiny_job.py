"""A job of a dozen weights, for the harness's own tests: a step costs a millisecond, and everything that must be exact
is there: momentum, dropout's random state, an order of batches by epoch, rows, files, the best weights."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import yaml
from pydantic import Field
from torch.nn import functional

from training.harness.config import JobConfig
from training.harness.learner import Ending, Job, Milestone

BATCHES: Final = 5


class Config(JobConfig):
    """The configuration."""

    epochs: Annotated[int, Field(ge=1)]
    batch_size: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What is learnt from."""

    sha256: str = "0" * 64
    warnings: tuple[str, ...] = ()


class Tiny:
    """Learns something from nothing."""

    def __init__(self, config: Config, *, before_step: Callable[[int], None]) -> None:
        torch.manual_seed(config.seed)
        self._config, self._before_step = config, before_step
        self.network = torch.nn.Linear(4, 3)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=0.1)
        self.step = 0
        self.epochs: list[dict[str, float]] = []
        self._loss_sum = 0.0
        self._best: dict[str, Any] = {"loss": float("inf"), "weights": None}

    @property
    def done(self) -> bool:
        return self.step == self._config.epochs * BATCHES

    @property
    def scope(self) -> str:
        return f"to step {self._config.epochs * BATCHES}"

    def advance(self) -> Milestone | None:
        self._before_step(self.step)
        epoch, batch = divmod(self.step, BATCHES)
        order = torch.randperm(BATCHES, generator=torch.Generator().manual_seed(epoch)).tolist()
        inputs = torch.arange(16.0).reshape(4, 4).roll(order[batch])
        loss = functional.dropout(self.network(inputs), 0.3).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.step += 1
        self._loss_sum += loss.item()
        if self.step % BATCHES:
            return None
        row = {"epoch": float(epoch + 1), "step": float(self.step), "loss": self._loss_sum}
        self.epochs.append(row)
        if self._loss_sum < self._best["loss"]:
            weights = {name: value.clone() for name, value in self.network.state_dict().items()}
            self._best = {"loss": self._loss_sum, "weights": weights}
        self._loss_sum = 0.0
        files = {f"rows/{epoch + 1}.txt": repr(row).encode()}
        return Milestone(line=f"epoch {epoch + 1}", metrics={"loss": row["loss"]}, files=files)

    def state(self) -> dict[str, Any]:
        return {
            "torch": str(torch.__version__),
            "step": self.step,
            "epochs": self.epochs,
            "loss_sum": self._loss_sum,
            "best": self._best,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.epochs = state["step"], state["epochs"]
        self._loss_sum, self._best = state["loss_sum"], state["best"]
        torch.set_rng_state(state["random"])

    def finish(self) -> Ending:
        written = io.BytesIO()
        torch.save(self._best["weights"], written)
        return Ending(line="done", final={"loss": self._best["loss"]}, files={"model.pt": written.getvalue()})


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyRun:
    """One run of the tiny job in a folder; `before_step` is called with the number of each step."""

    folder: Path
    epochs: int = 3
    every_steps: int = 2
    keep_last: int = 2
    before_step: Callable[[int], None] = field(default=lambda _: None)

    def config(self) -> Path:
        kept: Mapping[str, Any] = {
            "every_steps": self.every_steps,
            "keep_last": self.keep_last,
            "keep_best": 1,
            "keep_every_steps": None,
            "keep_every_hours": None,
        }
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump({"seed": 3, "threads": 1, "epochs": self.epochs, "checkpoints": kept}))
        return path

    def job(self) -> Job[Config]:
        return Job(
            name="tiny",
            config=Config,
            read_data=lambda _data, _config, _cache: Numbers(),
            learner=lambda config, _data: Tiny(config, before_step=self.before_step),
            metric="loss",
            greater_is_better=False,
            headline=lambda final: f"loss {final['loss']}",
        )

"""The training of the detector, a step at a time: exact to go on with, and honest when it fails."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.learners import advance, assert_goes_on_to_the_same_bit, through_a_file
from tests.support.made_up_eeg import MadeUpCorpus, loaded, made_up
from tests.support.training import same
from training.eeg.config import Config
from training.eeg.inference import predict, seconds_of
from training.eeg.trainer import Trainer
from training.harness.arithmetic import Arithmetic
from trimtab.errors import HealthError, UsageError


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return loaded(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def corpus() -> MadeUpCorpus:
    return made_up()


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5])
def test_going_on_from_a_state_is_the_same_to_the_bit_as_never_stopping(
    config: Config, corpus: MadeUpCorpus, steps: int
) -> None:
    assert Trainer(config, corpus).batches == 3
    assert_goes_on_to_the_same_bit(lambda: Trainer(config, corpus), stop_at=steps, steps=6)


def test_how_many_threads_read_does_not_matter(tmp_path: Path, corpus: MadeUpCorpus) -> None:
    states = []
    for workers in (1, 5):
        trainer = Trainer(loaded(tmp_path, loader={"workers": workers}), corpus)
        advance(trainer, 4)
        states.append(through_a_file(trainer.state()))
    assert same(*states)


def test_a_window_is_one_read_of_one_slice(config: Config) -> None:
    corpus = made_up()
    trainer = Trainer(config, corpus)
    advance(trainer, 2)
    trainer._loader.__exit__()
    assert all(stop - start == 20 * 32 for _, start, stop in corpus.reads)
    assert len(corpus.reads) in (32, 41)  # of each window taken once; the third batch is read ahead


def test_it_learns_a_seizure_and_leaves_scores_pictures_predictions_and_weights(tmp_path: Path) -> None:
    corpus = made_up()
    trainer = Trainer(loaded(tmp_path), corpus)
    while not trainer.done:
        trainer.advance()
    ending = trainer.finish()
    final = ending.final
    assert (final["event_f1"], final["false_alarms_per_day"], final["average_precision"]) == (1.0, 0.0, 1.0)
    assert (final["split"], final["synthetic"], final["patients"]) == ("eval", True, 2)
    assert "synthetic" in ending.line
    assert json.loads(json.dumps(final)) == final

    weights = torch.load(io.BytesIO(ending.files["model.pt"]), weights_only=True)
    assert same(weights, {name: value.cpu() for name, value in trainer.network.state_dict().items()})
    numbers = json.loads(ending.files["evaluation/scores.json"])
    assert [row["upper"] for row in numbers["sweep"]] == [round(0.05 * step, 2) for step in range(1, 20)]
    with Image.open(io.BytesIO(ending.files["evaluation/strip.png"])) as strip:
        assert strip.format == "PNG"
        assert len(strip.getcolors(1 << 20) or ()) > 5
    svg = ending.files["evaluation/sweep.svg"].decode()
    assert svg.startswith("<svg")
    assert "synthetic" in svg

    first, second = (line.split("\t") for line in ending.files["evaluation/events.tsv"].decode().splitlines()[1:])
    start, length = map(float, first[:2])
    assert (start, length) == (pytest.approx(50, abs=3), pytest.approx(30, abs=6))
    assert (first[2], second[:3]) == ("sz", ["0.0000", "120.5000", "bckg"])
    assert [row[6:] for row in (first, second)] == [
        ["120.5000", f"eval/eval0{number}/s001_2020/01_tcp_ar/eval0{number}_s001_t000.edf", "synthetic"]
        for number in range(2)
    ]


def test_labels_of_other_windows_teach_nothing(tmp_path: Path) -> None:
    trainer = Trainer(loaded(tmp_path, sampling={"shuffled_labels": True}), made_up())
    while not trainer.done:
        trainer.advance()
    assert trainer.sampler.taken.partial == 11
    found = trainer.finish().final
    assert found["event_f1"] == 0
    assert found["false_alarms_per_day"] == 0


def test_measuring_draws_nothing_and_changes_nothing(config: Config, corpus: MadeUpCorpus) -> None:
    trainer = Trainer(config, corpus)
    advance(trainer, 1)
    before = through_a_file(trainer.state())
    first, again = trainer._predict("dev"), trainer._predict("dev")
    assert same(through_a_file(trainer.state()), before)
    assert all(np.array_equal(a.probabilities, b.probabilities) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("seconds", [5.0, 20.0, 20.5, 47.25])
def test_every_second_of_a_recording_gets_a_probability(config: Config, seconds: float) -> None:
    corpus = MadeUpCorpus({"train": [[(1.0, 3.0)]], "dev": [[]], "eval": [[]]}, seconds=seconds)
    trainer = Trainer(config, corpus)
    arithmetic = Arithmetic(threads=1, seed=1, precision="float32")
    (found,) = predict(trainer.network, corpus, (0,), config, arithmetic)
    assert len(found.probabilities) == seconds_of(corpus, 0) == int(np.ceil(seconds))
    assert ((found.probabilities > 0) & (found.probabilities < 1)).all()


def test_a_second_that_several_windows_saw_gets_their_mean(config: Config) -> None:
    class Counting(torch.nn.Module):
        """Scores each window with how many came before it."""

        def __init__(self) -> None:
            super().__init__()
            self.seen = 0

        def forward(self, signals: torch.Tensor) -> torch.Tensor:
            scores = torch.arange(self.seen, self.seen + len(signals)).float()
            self.seen += len(signals)
            return scores[:, None].repeat(1, 20)

    corpus = MadeUpCorpus({"train": [[(1.0, 3.0)]]}, seconds=35)
    arithmetic = Arithmetic(threads=1, seed=1, precision="float32")
    (found,) = predict(Counting(), corpus, (0,), config, arithmetic)
    p = torch.arange(3).float().sigmoid().numpy()  # windows at 0, 10 and 15 s
    expected = np.repeat([p[0], p[:2].mean(), p.mean(), p[1:].mean(), p[2]], [10, 5, 5, 10, 5])
    assert np.allclose(found.probabilities, expected)


def test_bfloat16_learns_too(tmp_path: Path, corpus: MadeUpCorpus) -> None:
    trainer = Trainer(loaded(tmp_path, optimisation={"precision": "bfloat16"}), corpus)
    advance(trainer, 3)
    assert 0 < trainer.epochs[0]["train_loss"] < 1


def test_a_loss_that_is_no_number_stops_with_the_cause(tmp_path: Path, corpus: MadeUpCorpus) -> None:
    trainer = Trainer(loaded(tmp_path, optimisation={"learning_rate": 1e30, "warmup_steps": 0}), corpus)
    with pytest.raises(HealthError, match=r"the loss is (nan|inf) at step \d+") as caught:
        advance(trainer, 9)
    assert "learning rate" in caught.value.why
    assert "lower optimisation.learning_rate" in caught.value.remedy


def test_a_signal_that_is_no_number_is_named(config: Config) -> None:
    corpus = made_up()
    corpus.signals[corpus.of_split("train")[1]][3, 2500] = np.nan
    trainer = Trainer(config, corpus)
    with pytest.raises(HealthError, match="the loss is nan") as caught:
        advance(trainer, 3)
    assert "the cached signal of train/train01/" in caught.value.why


@pytest.mark.parametrize("split", ["dev", "eval"])
def test_a_corpus_without_a_split_is_refused(config: Config, split: str) -> None:
    events: dict[str, list[list[tuple[float, float]]]] = {"train": [[(20.0, 50.0)]], "dev": [[]], "eval": [[]]}
    del events[split]
    with pytest.raises(UsageError, match=f"no usable recording in {split}"):
        Trainer(config, MadeUpCorpus(events))


def test_the_learning_rate_rises_in_a_line_and_falls_to_nothing(config: Config, corpus: MadeUpCorpus) -> None:
    trainer = Trainer(config, corpus)
    rates = [trainer.learning_rate(step) for step in range(9)]
    assert rates[:3] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 0.002

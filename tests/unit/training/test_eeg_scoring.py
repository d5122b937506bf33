"""Detections and their scores: timescoring's numbers, two thresholds, and what is undefined."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring, SampleScoring

from training.eeg.config import Detection
from training.eeg.detection import Events, detect, labels_of
from training.eeg.scoring import Score, Scored, at_threshold, average_precision, score

HOW = Detection(upper=0.8, lower=0.4, minimum_s=3, merge_s=2, stride_s=10)


def random_events(random: np.random.Generator, seconds: int) -> Events:
    edges = np.sort(random.choice(np.arange(0, 10 * seconds), 2 * random.integers(0, 8), replace=False)) / 10
    return tuple((float(a), float(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))


def as_ours(value: float) -> float | None:
    return None if math.isnan(value) else value


def same(ours: Score, theirs: Any) -> bool:
    counts = (ours.true, ours.found, ours.false) == (theirs.refTrue, theirs.tp, theirs.fp)
    names = (("sensitivity", "sensitivity"), ("precision", "precision"), ("f1", "f1"), ("false_per_day", "fpRate"))
    return counts and all(getattr(ours, one) == as_ours(float(getattr(theirs, other))) for one, other in names)


@pytest.mark.parametrize("seed", range(40))
def test_one_recordings_scores_are_timescorings(seed: int) -> None:
    random = np.random.default_rng(seed)
    seconds = int(random.integers(60, 3000))
    truth, detected = random_events(random, seconds), random_events(random, seconds)
    ours = score([Scored(duration_s=seconds, truth=truth, detected=detected)])
    theirs = [Annotation(list(events), 256, seconds * 256) for events in (truth, detected)]
    assert same(ours.event, EventScoring(*theirs))
    assert same(ours.sample, SampleScoring(*theirs))


def test_scores_of_a_mask_are_timescorings_too() -> None:
    random = np.random.default_rng(1)
    masks = [np.repeat(random.random(60) < 0.2, 20) for _ in range(2)]
    theirs = [Annotation(mask, 1) for mask in masks]
    ours = score([Scored(duration_s=1200, truth=tuple(theirs[0].events), detected=tuple(theirs[1].events))])
    assert same(ours.event, EventScoring(*theirs))
    assert same(ours.sample, SampleScoring(*theirs))


def test_recordings_are_counted_together() -> None:
    one = Scored(duration_s=3600, truth=((100.0, 160.0),), detected=((120.0, 150.0), (1000.0, 1030.0)))
    other = Scored(duration_s=1800, truth=((100.0, 160.0),), detected=())
    both = score([one, other])
    assert (both.event.true, both.event.found, both.event.false) == (2, 1, 1)
    assert both.event.false_per_day == pytest.approx(16)
    assert both.hours == 1.5
    assert both.event.f1 == 0.5


def test_what_no_count_defines_is_none() -> None:
    nothing = score([Scored(duration_s=60, truth=(), detected=())])
    assert (nothing.event.sensitivity, nothing.event.precision, nothing.event.f1) == (None, None, None)
    missed = score([Scored(duration_s=600, truth=((10.0, 50.0),), detected=())])
    assert (missed.event.sensitivity, missed.event.precision, missed.event.f1) == (0.0, None, 0.0)
    with pytest.raises(ValueError, match="no recording"):
        score([])


@pytest.mark.parametrize(
    ("probabilities", "events"),
    [
        ("0000", ()),
        ("0055555500", ()),  # never reaches the upper threshold
        ("0055959500", ((4, 8),)),  # begins there, ends below the lower one
        ("9999", ((0, 4),)),
        ("0099000000", ()),  # too short
        ("99990999", ((0, 8),)),  # a gap of one second is closed
        ("9990099900", ((0, 8),)),
        ("999000999", ((0, 3), (6, 9))),
        ("9900990099", ((0, 10),)),  # gaps are closed before what is short is dropped
    ],
)
def test_a_detection_has_two_thresholds_gaps_and_a_least_length(probabilities: str, events: Events) -> None:
    assert detect(np.array([int(one) / 10 for one in probabilities], np.float32), HOW) == events


def test_a_second_counts_from_half_of_it() -> None:
    labels = labels_of(((1.5, 3.4), (5.0, 5.3), (5.4, 5.7), (8.6, 99.0)), start_s=0, seconds=10)
    assert labels.tolist() == [0, 1, 1, 0, 0, 1, 0, 0, 0, 1]
    assert labels_of(((10.0, 12.0),), start_s=9.5, seconds=3).tolist() == [1, 1, 1]


def test_another_threshold_keeps_the_lower_ones_distance() -> None:
    moved = at_threshold(HOW, 0.4)
    assert (moved.upper, moved.lower, moved.minimum_s) == pytest.approx((0.4, 0.2, 3))


def test_average_precision_is_the_area_under_precision_over_recall() -> None:
    labels = np.array([1, 0, 1, 0, 0], np.float32)
    assert average_precision(np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32), labels) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.full(5, 0.5, np.float32), labels) == pytest.approx(0.4)  # chance: the part of ones
    assert average_precision(labels, labels) == 1
    assert average_precision(labels, np.zeros(5, np.float32)) == 0

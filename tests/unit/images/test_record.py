"""The record of releases: what is live, what is kept, and what one goes back to."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from trimtab.errors import UsageError
from trimtab.images.record import KEPT_RELEASES, Record, Release, judgement, record_of


def release(number: int, digest: str = "", models: str = "models-a") -> Release:
    return Release(
        number=number,
        digest=f"sha256:{digest or f'{number:064x}'}",
        reference="",
        variant="cpu",
        commit="c0de",
        models={},
        models_volume=models,
        identity=f"{number}",
        made_at="2030-01-01T00:00:00+00:00",
    )


def live(*numbers: int) -> Record:
    record = Record()
    for number in numbers:
        record = record.with_live(release(number))
    return record


def test_an_empty_record_has_nothing_to_go_back_to() -> None:
    assert (Record().live_release, Record().next_number, Record().kept()) == (None, 1, ())
    with pytest.raises(UsageError, match="no release to go back to"):
        Record().rollback_target(None)


def test_the_first_release_has_nothing_before_it() -> None:
    with pytest.raises(UsageError, match="no release to go back to") as caught:
        live(1).rollback_target(None)
    assert "1 (000000000000, live)" in caught.value.why


def test_a_rollback_goes_to_the_one_before() -> None:
    assert live(1, 2, 3).rollback_target(None).number == 2


def test_a_refused_release_is_on_record_and_never_gone_back_to() -> None:
    record = live(1).with_refused(release(2), why="it was not healthy").with_live(release(3))
    assert record.rollback_target(None).number == 1
    assert [judgement(r, record) for r in record.releases] == ["healthy", "refused", "live"]
    with pytest.raises(UsageError, match="there is no healthy release 2"):
        record.rollback_target("2")


def test_a_refused_release_changes_nothing_of_what_is_live() -> None:
    record = live(1, 2).with_refused(release(3), why="no")
    assert record.live == 2
    assert record.next_number == 4


def test_two_rollbacks_go_two_back_and_do_not_swing_between_two() -> None:
    record = live(1, 2, 3)
    record = record.without_live().with_live(replace(release(2), number=4))
    assert record.rollback_target(None).number == 1
    record = record.without_live().with_live(replace(release(1), number=5))
    with pytest.raises(UsageError, match="no release to go back to"):
        record.rollback_target(None)


def test_a_withdrawn_release_comes_back_when_it_is_named() -> None:
    record = live(1, 2).without_live().with_live(replace(release(1), number=3))
    assert judgement(record.releases[1], record) == "withdrawn"
    assert record.rollback_target("2").number == 2


def test_the_same_image_again_is_no_other_release_to_go_back_to() -> None:
    record = live(1, 2).with_live(replace(release(2), number=3, identity="other limits"))
    assert record.rollback_target(None).number == 1


def test_other_models_in_the_same_image_are_another_release() -> None:
    record = live(1).with_live(replace(release(1), number=2, models_volume="models-b"))
    assert record.rollback_target(None).number == 1


@pytest.mark.parametrize("text", ["5a17c0de", "sha256:5a17c0", "registry.example/gulls@sha256:9e610000", "9e6100"])
def test_a_digest_is_found_by_its_beginning_with_or_without_its_kind(text: str) -> None:
    wanted = replace(
        release(1, digest="5a17c0de" + 56 * "0"), reference="registry.example/gulls@sha256:9e61" + 60 * "0"
    )
    record = Record().with_live(wanted).with_live(release(2))
    assert record.rollback_target(text).number == 1


def test_the_beginning_of_two_digests_is_refused() -> None:
    record = live(1, 2, 3)
    with pytest.raises(UsageError, match="the beginning of more than one digest"):
        record.rollback_target("000000")


@pytest.mark.parametrize("text", ["99", "5a17c0de", "zzz", "", "sha256:"])
def test_what_is_not_on_record_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="there is no healthy release"):
        live(1, 2).rollback_target(text)


def test_the_last_that_differ_are_kept_and_the_live_one_always() -> None:
    record = live(1, 2, 3, 4, 5)
    assert [r.number for r in record.kept()] == [5, 4, 3]
    assert len(record.kept()) == KEPT_RELEASES
    back = record.with_live(replace(release(1), number=6))
    assert [r.number for r in back.kept()] == [6, 5, 4]


def test_repeating_one_release_pushes_no_other_out() -> None:
    record = live(1, 2)
    for number in range(3, 9):
        record = record.with_live(replace(release(2), number=number))
    assert [r.digest for r in record.kept()] == [release(2).digest, release(1).digest]


def test_the_models_of_a_refused_release_are_not_proven() -> None:
    record = live(1).with_refused(release(2, models="models-b"), why="no")
    assert record.proven_models == {"models-a"}


def test_it_is_read_as_it_was_written() -> None:
    record = live(1, 2).with_refused(release(3), why="no")
    document = json.loads(json.dumps(record.document(target="harbour-gulls-2:8000")))
    assert document["live"] == {"number": 2, "target": "harbour-gulls-2:8000"}
    assert record_of(document) == record
    assert record_of(Record().document(target=None)) == Record()


def test_the_memory_has_an_end() -> None:
    record = live(*range(1, 80))
    assert len(record.releases) == 50
    assert record.next_number == 80

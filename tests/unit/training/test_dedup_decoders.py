"""Decoders in processes of their own: the same pixels, and a picture that ends its decoder ends nothing else."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.support.slow_pictures import at_work, in_digits, is_alive, kill_at_work, wait_until
from training.dedup.decoders import Bounds, Decoders, bounds_of
from training.dedup.decoding import Limits, decode, thumbnail
from training.dedup.skips import UnusableError
from trimtab.errors import ProgramError

LIMITS = Limits(max_pixels=30_000_000, max_file_bytes=40_000_000)
SIDE = 16


def saved(number: int, kind: str = "PNG", side: int = 60) -> bytes:
    small = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(stream, kind)
    return stream.getvalue()


def placed(folder: Path, name: str, content: bytes) -> tuple[Path, str]:
    path = folder / name
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


def reason_of(raised: pytest.ExceptionInfo[UnusableError]) -> str:
    return raised.value.reason


@pytest.mark.parametrize("whole", [True, False])
def test_a_decoder_in_a_process_gives_the_pixels_of_one_here_in_the_order_of_the_files(
    tmp_path: Path, *, whole: bool
) -> None:
    contents = [
        saved(number, kind, 50 + number)
        for number, kind in enumerate(("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "JPEG2000"))
    ]
    decoders = Decoders(2, LIMITS)
    placed_files = [placed(tmp_path, str(number), content) for number, content in enumerate(contents)]
    begun = [decoders.decode(path, sha256, SIDE, whole=whole) for path, sha256 in placed_files]
    small = [decoders.thumbnail(path, sha256, 20) for path, sha256 in placed_files]
    for content, future, little in zip(contents, begun, small, strict=True):
        expected, found = decode(content, LIMITS, SIDE, whole=whole), future.result()
        assert (found.width, found.height) == (expected.width, expected.height)
        assert np.array_equal(found.pixels, expected.pixels)
        assert little.result() == thumbnail(content, LIMITS, 20)
    decoders.close()


def test_what_is_refused_here_is_refused_there_with_the_same_words(tmp_path: Path) -> None:
    content = saved(1)[:70]
    with pytest.raises(UnusableError) as here:
        decode(content, LIMITS, SIDE)
    decoders = Decoders(1, LIMITS)
    path, sha256 = placed(tmp_path, "cut", content)
    with pytest.raises(UnusableError) as there:
        decoders.decode(path, sha256, SIDE, whole=True).result()
    assert (there.value.reason, there.value.detail) == (here.value.reason, here.value.detail)
    with pytest.raises(UnusableError, match="changed while it was read"):
        decoders.decode(path, "0" * 64, SIDE, whole=True).result()
    decoders.close()


def test_a_picture_that_takes_more_memory_than_it_may_is_refused_and_the_next_one_is_decoded(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("L", (5000, 5000)).save(stream, "PNG")  # 72 KB, and 100 MB as colours
    decoders = Decoders(1, LIMITS, Bounds(memory_bytes=50_000_000, seconds=60))
    bomb = decoders.decode(*placed(tmp_path, "bomb", stream.getvalue()), SIDE, whole=True)
    sound = decoders.decode(*placed(tmp_path, "sound", saved(2)), SIDE, whole=True)
    with pytest.raises(UnusableError) as caught:
        bomb.result()
    assert reason_of(caught) == "took too much memory"
    assert np.array_equal(sound.result().pixels, decode(saved(2), LIMITS, SIDE).pixels)
    decoders.close()


def test_a_picture_that_takes_too_long_is_set_aside_and_the_next_one_is_decoded(tmp_path: Path) -> None:
    decoders = Decoders(1, LIMITS, Bounds(memory_bytes=bounds_of(LIMITS).memory_bytes, seconds=1))
    (before,) = decoders.process_ids
    endless = decoders.decode(*placed(tmp_path, "digits", in_digits()), SIDE, whole=True)
    sound = decoders.decode(*placed(tmp_path, "sound", saved(2)), SIDE, whole=True)
    with pytest.raises(UnusableError) as caught:
        endless.result()
    assert reason_of(caught) == "took too long"
    assert sound.result().width == 60
    assert before not in decoders.process_ids
    assert not psutil.pid_exists(before)
    decoders.close()


def test_a_picture_that_ends_two_decoders_is_set_aside_by_how_they_ended(tmp_path: Path) -> None:
    decoders = Decoders(2, LIMITS)
    crashing = decoders.decode(*placed(tmp_path, "digits", in_digits()), SIDE, whole=True)
    others = [placed(tmp_path, str(number), saved(number)) for number in range(20)]
    sound = [decoders.decode(path, sha256, SIDE, whole=True) for path, sha256 in others]
    for _ in range(2):
        kill_at_work(lambda: decoders.process_ids)
    with pytest.raises(UnusableError) as caught:
        crashing.result()
    assert reason_of(caught) == "crashed its decoder"
    assert caught.value.detail == "2 times, at last by SIGKILL"
    assert [future.result().width for future in sound] == [60] * 20
    decoders.close()


def test_decoders_that_are_killed_from_outside_change_no_result(tmp_path: Path) -> None:
    contents = [saved(number, "JPEG", 300) for number in range(120)]
    decoders = Decoders(2, LIMITS)
    first = list(decoders.process_ids)
    files = [placed(tmp_path, str(number), content) for number, content in enumerate(contents)]
    begun = [decoders.decode(path, sha256, SIDE, whole=True) for path, sha256 in files]
    for number, (content, future) in enumerate(zip(contents, begun, strict=True)):
        if number in {7, 60}:
            os.kill(first.pop(), signal.SIGKILL)
        assert np.array_equal(future.result().pixels, decode(content, LIMITS, SIDE).pixels)
    decoders.close()


def test_no_process_is_left_when_decoders_are_closed_or_forgotten_in_the_middle(tmp_path: Path) -> None:
    path, sha256 = placed(tmp_path, "digits", in_digits())
    for way in ("closed", "forgotten"):
        decoders = Decoders(2, LIMITS)
        numbers = decoders.process_ids
        begun = [decoders.decode(path, sha256, SIDE, whole=True) for _ in range(4)]
        wait_until(lambda: at_work(numbers) is not None)  # noqa: B023  # called before the next turn
        if way == "closed":
            decoders.close()
        del decoders
        gc.collect()
        assert not [number for number in numbers if psutil.pid_exists(number)]
        assert all(future.done() for future in begun)


def test_no_process_is_left_when_the_one_that_started_them_is_killed(tmp_path: Path, root: Path) -> None:
    path, sha256 = placed(tmp_path, "digits", in_digits())
    script = (
        "import sys; from pathlib import Path\n"
        "from training.dedup.decoders import Decoders\nfrom training.dedup.decoding import Limits\n"
        f"decoders = Decoders(2, Limits(max_pixels={LIMITS.max_pixels}, max_file_bytes={LIMITS.max_file_bytes}))\n"
        f"future = decoders.decode(Path({str(path)!r}), {sha256!r}, {SIDE}, whole=True)\n"
        "print(*decoders.process_ids, flush=True)\nfuture.result()\n"
    )
    with subprocess.Popen((sys.executable, "-c", script), cwd=root, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        numbers = [int(word) for word in parent.stdout.readline().split()]
        assert len(numbers) == 2
        wait_until(lambda: at_work(numbers) is not None)
        parent.kill()
    wait_until(lambda: not any(is_alive(number) for number in numbers), within_s=10)


def test_a_decoder_that_does_not_start_is_no_fault_of_a_picture(tmp_path: Path) -> None:
    decoders = Decoders(1, LIMITS, Bounds(memory_bytes=2**70, seconds=60))
    with pytest.raises(ProgramError, match="does not start") as caught:
        decoders.decode(*placed(tmp_path, "sound", saved(2)), SIDE, whole=True).result()
    assert "tried 2 times" in caught.value.why
    decoders.close()

"""Dicts and Queues of the real client: from the desk, inside functions, and between both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.modal_plane import ModalPlane, embedded_modal

pytestmark = pytest.mark.xdist_group("engine")

APP = Path(__file__).parent / "modal_apps" / "shares.py"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalPlane]:
    with embedded_modal(tmp_path_factory.mktemp("shared")) as running:
        yield running


DICT = """
d = modal.Dict.from_name("desk", create_if_missing=True)
d.clear()
d.update({("a", 1): "one", "b": None})
answer = [
    sorted(map(str, d.keys())), d.len(), d["b"], d.put("b", 2, skip_if_exists=True), d.put("c", 3, skip_if_exists=True),
    d.pop("c"), "c" in d, d.get("c", "nothing"), dict(d.items())[("a", 1)], sorted(map(str, d.values())),
]
del d["b"]
with modal.Dict.ephemeral() as unnamed:
    unnamed["x"] = 1
    answer += [d.len(), unnamed["x"], [one.name for one in modal.Dict.objects.list()]]
modal.Dict.objects.delete("desk")
answer.append([one.name for one in modal.Dict.objects.list()])
"""


def test_a_dict_at_the_desk_is_what_python_s_is(plane: ModalPlane) -> None:
    keys, *rest = plane.python(DICT)
    assert keys == ["('a', 1)", "b"]
    assert rest == [2, None, False, True, 3, False, "nothing", "one", ["None", "one"], 1, 1, ["desk"], []]


QUEUE = """
import queue, time
q = modal.Queue.from_name("desk", create_if_missing=True)
q.put_many([1, 2, 3, 4])
q.put("other", partition="p")
answer = [q.len(), q.len(total=True), list(q.iterate()), q.get(), q.get_many(2), q.get(partition="p"), q.get(), q.len()]
began = time.monotonic()
for how in (dict(block=False), dict(timeout=0.5)):
    try:
        answer.append(q.get(**how))
    except queue.Empty:
        answer.append("empty")
answer.append(0.5 <= time.monotonic() - began)
q.put_many(list(range(5000)))
try:
    q.put_many([1], block=False)
except queue.Full:
    answer.append("full")
q.put("short", partition="s", partition_ttl=1)
time.sleep(1.1)
answer.append(q.len(partition="s"))
q.clear(all=True)
answer.append(q.len(total=True))
modal.Queue.objects.delete("desk")
"""


def test_a_queue_at_the_desk_keeps_its_order_its_partitions_and_its_limits(plane: ModalPlane) -> None:
    expected = [4, 5, [1, 2, 3, 4], 1, [2, 3], "other", 4, 0, None, "empty", True, "full", 0, 0]
    assert plane.python(QUEUE) == expected


INSIDE = """
notes, echoes = (modal.Function.from_name("shares", name) for name in ("notes", "echoes"))
call = echoes.spawn(3)
q = modal.Queue.from_name("shares-tides", create_if_missing=True)
seen = notes.remote("inside")
q.put_many([5, 6, 7])
answer = [seen, modal.Dict.from_name("shares-log")["inside"], call.get(), q.get_many(3, partition="echo")]
"""


def test_functions_share_them_with_the_desk_and_with_the_next_plane(plane: ModalPlane) -> None:
    plane.cli("deploy", APP)
    seen, noted, passed, echoed = plane.python(INSIDE)
    assert seen == [False, True, 4, "nothing", True, [3], "gone"]
    assert (noted, passed, echoed) == (4, [5, 6, 7], [10, 12, 14])
    plane.restart()
    assert plane.python("answer = modal.Dict.from_name('shares-log')['inside']") == 4
    assert "shares-log" in plane.cli("dict", "list")
    assert "shares-tides" in plane.cli("queue", "list")


MISSING = """
try:
    answer = modal.{}.from_name("none").len()
except modal.exception.NotFoundError as error:
    answer = str(error)
"""


def test_one_that_does_not_exist_is_said_so(plane: ModalPlane) -> None:
    for kind in ("Dict", "Queue"):
        assert f"{kind} 'none' not found" in plane.python(MISSING.format(kind))

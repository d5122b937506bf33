"""What functions share with each other and with the desk: a Dict and a Queue, by name."""

import modal

app = modal.App("shares")
log = modal.Dict.from_name("shares-log", create_if_missing=True)
tides = modal.Queue.from_name("shares-tides", create_if_missing=True)


@app.function()
def notes(key: str) -> list[object]:
    """Do to a Dict whatever can be done to one; return what came of it."""
    log[key] = 1
    first = log.put(key, 2, skip_if_exists=True)
    log.update({"other": [3], key: 4})
    seen = [first, key in log, log[key], log.get("none", "nothing"), log.len() >= 2, log.pop("other")]
    try:
        log["other"]
    except KeyError:
        seen.append("gone")
    return seen


@app.function()
def echoes(count: int) -> list[int]:
    """Hand back, in a partition of its own, what comes in; end when so much came."""
    seen = []
    for _ in range(count):
        value = tides.get(timeout=60)
        tides.put(value * 2, partition="echo")
        seen.append(value)
    return seen

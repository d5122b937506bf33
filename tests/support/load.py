"""A steady load on a service: so many requests a second, on kept connections and on new ones, each of them counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Final, Self

_WORKERS: Final = 10
_TIMEOUT_S: Final = 10


class Load:
    """Asks for as long as it is entered. Half the workers keep their connections, half make one for each request;
    half post a picture, half ask for the health."""

    def __init__(self, address: str, *, post: str, picture: bytes, per_second: float = 50) -> None:
        self.failures: Counter[str] = Counter()
        self.releases: Counter[str] = Counter()
        self.latencies_s: list[float] = []
        self._address, self._post, self._picture = address, post, picture
        self._period_s = _WORKERS / per_second
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(_WORKERS)]

    @property
    def requests(self) -> int:
        """How many were asked."""
        return len(self.latencies_s)

    @property
    def failed(self) -> int:
        """How many were not answered with 200."""
        return self.failures.total()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        import requests

        session = requests.Session()
        next_s = time.monotonic() + self._period_s * number / _WORKERS
        with session:
            while not self._stop.wait(max(0.0, next_s - time.monotonic())):
                next_s += self._period_s
                asks = session if number % 2 else requests
                started_s = time.monotonic()
                failure, release = "", ""
                try:
                    if number % 4 < 2:
                        files = {"image": ("picture.jpg", self._picture)}
                        answer = asks.post(self._address + self._post, files=files, timeout=_TIMEOUT_S)
                    else:
                        answer = asks.get(f"{self._address}/health", timeout=_TIMEOUT_S)
                    failure = "" if answer.status_code == 200 else f"{answer.status_code}: {answer.text[:100]}"
                    release = str(answer.json().get("release", ""))
                except (requests.RequestException, ValueError) as error:
                    failure = repr(error)[:200]
                with self._lock:
                    self.latencies_s.append(time.monotonic() - started_s)
                    self.releases[release] += 1
                    if failure:
                        self.failures[failure] += 1

from __future__ import annotations

import queue
import threading
import time

import pytest

from dtda.app.mailbox import Closed, Mailbox


def test_put_replaces_the_unread_item_and_says_so() -> None:
    box: Mailbox[int] = Mailbox()
    assert box.put(1) is False
    assert box.put(2) is True
    assert box.get() == 2
    assert box.put(3) is False


def test_falsy_items_are_delivered() -> None:
    box: Mailbox[int | None] = Mailbox()
    for item in (0, None):
        box.put(item)
        assert box.get(timeout=1) is item


def test_put_wait_loses_nothing() -> None:
    box: Mailbox[int] = Mailbox()
    sent = list(range(200))
    thread = threading.Thread(target=lambda: [box.put_wait(item) for item in sent])
    thread.start()
    assert [box.get(timeout=5) for _ in sent] == sent
    thread.join(5)
    assert not thread.is_alive()


def test_get_times_out() -> None:
    box: Mailbox[int] = Mailbox()
    start = time.monotonic()
    with pytest.raises(queue.Empty):
        box.get(timeout=0.05)
    assert 0.04 < time.monotonic() - start < 1
    with pytest.raises(queue.Empty):
        box.get(timeout=0)


@pytest.mark.parametrize("waiting", ["get", "put_wait"])
def test_close_wakes_the_waiting_side(waiting: str) -> None:
    box: Mailbox[int] = Mailbox()
    if waiting == "put_wait":
        box.put(1)
    outcome: list[type[BaseException]] = []

    def wait() -> None:
        try:
            box.get() if waiting == "get" else box.put_wait(2)
        except Closed as error:
            outcome.append(type(error))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    box.close()
    thread.join(2)
    assert not thread.is_alive()
    assert outcome == [Closed]


def test_after_close_everything_is_refused() -> None:
    box: Mailbox[int] = Mailbox()
    box.put(1)
    box.close()
    box.close()
    for call in (box.get, lambda: box.put(2), lambda: box.put_wait(3)):
        with pytest.raises(Closed):
            call()

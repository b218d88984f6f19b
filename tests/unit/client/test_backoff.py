"""When to try again."""

from mtdd_router.client.backoff import Backoff


def test_pauses_grow_up_to_a_limit():
    backoff = Backoff(0.0, 100.0, first=0.1, longest=0.4)
    pauses = [backoff.pause(0.0) or 0.0 for _ in range(6)]
    assert all(0.05 <= pause <= 0.4 for pause in pauses)
    assert max(pauses[3:]) > pauses[0]


def test_no_pause_is_longer_than_what_is_left():
    backoff = Backoff(10.0, 1.0, first=5.0)
    assert (backoff.pause(10.9) or 0.0) <= 0.1 + 1e-9


def test_after_the_deadline_it_gives_up():
    backoff = Backoff(10.0, 1.0)
    assert backoff.pause(11.0) is None

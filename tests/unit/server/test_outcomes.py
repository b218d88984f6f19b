"""What became of a request whose answer was lost."""

from mtdd_router.pb import shard_service_pb2 as pb
from mtdd_router.server.outcomes import Outcomes


def test_a_request_that_never_arrived_is_told_from_one_that_did():
    outcomes = Outcomes()
    record = outcomes.opened("a")
    record.serial, record.outcome = 3, pb.OUTCOME_SUCCEEDED
    assert outcomes.of("a", 3) == pb.OUTCOME_SUCCEEDED
    assert outcomes.of("a", 4) == pb.OUTCOME_NOT_RECEIVED


def test_an_older_request_or_an_unknown_session_is_not_guessed_at():
    outcomes = Outcomes()
    outcomes.opened("a").serial = 3
    assert outcomes.of("a", 2) == pb.OUTCOME_UNSPECIFIED
    assert outcomes.of("b", 1) == pb.OUTCOME_UNSPECIFIED


def test_an_ended_session_is_remembered_for_a_while_but_not_for_ever():
    outcomes = Outcomes()
    record = outcomes.opened("a")
    record.serial, record.outcome = 1, pb.OUTCOME_FAILED
    outcomes.ended("a")
    assert outcomes.of("a", 1) == pb.OUTCOME_FAILED
    for number in range(10_000):
        outcomes.opened(str(number))
        outcomes.ended(str(number))
    assert outcomes.of("a", 1) == pb.OUTCOME_UNSPECIFIED

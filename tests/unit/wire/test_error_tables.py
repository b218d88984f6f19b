"""The two tables of refusals are complete, both ways."""

import grpc
import pytest

from mtdd_router import errors
from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.wire import reasons, status


def test_every_reason_has_an_exception():
    assert set(reasons.EXCEPTIONS) == set(pb.Reason.values())


def test_every_status_code_has_an_exception():
    assert set(status.EXCEPTIONS) == set(status.StatusCode)


def test_status_codes_are_those_of_grpc():
    codes = {code.name: code.value[0] for code in grpc.StatusCode}
    assert {code.name: code.value for code in status.StatusCode} == codes


def test_every_exception_of_a_shard_comes_from_a_reason_or_a_status():
    raised = {*reasons.EXCEPTIONS.values(), *status.EXCEPTIONS.values()}
    assert set(errors.ShardError.__subclasses__()) <= raised


@pytest.mark.parametrize("reason", pb.Reason.values())
def test_an_exception_names_the_shard_and_its_address(reason):
    error = pb.Error(reason=reason, message="Something about tenant 'abc'.")
    text = str(reasons.exception_for(error, "shard1", "127.0.0.1:7401"))
    assert "abc" in text
    assert "shard1" in text
    assert "127.0.0.1:7401" in text


def test_a_reason_that_this_version_does_not_know_is_a_refusal():
    error = pb.Error.FromString(b"\x08\x63" + pb.Error(message="new").SerializeToString())
    assert error.reason == 99
    assert isinstance(reasons.exception_for(error, "s", "a"), errors.ShardRefused)

"""Handlers made from descriptors."""

from types import SimpleNamespace
from typing import Any

import pytest

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.pb import shard_service_pb2 as service_pb
from mtdd_router.server.handlers import service_handler

DESCRIPTOR = service_pb.DESCRIPTOR.services_by_name["ShardService"]
METHODS = {method.name: object() for method in DESCRIPTOR.methods}


def handler(path: str) -> Any:
    found = service_handler(DESCRIPTOR, SimpleNamespace(**METHODS))
    return found.service(SimpleNamespace(method=path, invocation_metadata=()))  # type: ignore[arg-type]


def test_each_method_is_answered_by_the_servicers_method_of_that_name() -> None:
    session = handler("/mtdd.v1.ShardService/Session")
    assert session.stream_stream is METHODS["Session"]
    assert handler("/mtdd.v1.ShardService/Listen").unary_stream is METHODS["Listen"]
    assert handler("/mtdd.v1.ShardService/Execute").unary_unary is METHODS["Execute"]
    assert handler("/mtdd.v1.ShardService/Nothing") is None


def test_messages_are_those_of_the_descriptor() -> None:
    session = handler("/mtdd.v1.ShardService/Session")
    request = pb.SessionRequest(serial=7)
    assert session.request_deserializer(request.SerializeToString()) == request
    response = pb.SessionResponse(complete=True)
    assert pb.SessionResponse.FromString(session.response_serializer(response)) == response


def test_a_servicer_that_lacks_a_method_is_refused() -> None:
    with pytest.raises(AttributeError, match="Session"):
        service_handler(DESCRIPTOR, object())

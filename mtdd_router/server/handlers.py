"""gRPC handlers made from a service's descriptor, without generated stubs."""

from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

__all__ = ["service_handler"]

_MAKERS: Final[dict[tuple[bool, bool], Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def service_handler(descriptor: ServiceDescriptor, servicer: object) -> grpc.GenericRpcHandler:
    """Return the handler that answers each method of *descriptor* with *servicer*'s.

    Raises:
        AttributeError: if the servicer lacks a method.
    """
    methods = {method.name: _method_handler(method, servicer) for method in descriptor.methods}
    handler: grpc.GenericRpcHandler = grpc.method_handlers_generic_handler(
        descriptor.full_name, methods
    )
    return handler


def _method_handler(method: MethodDescriptor, servicer: object) -> Any:
    make = _MAKERS[method.client_streaming, method.server_streaming]
    return make(
        getattr(servicer, method.name),
        request_deserializer=GetMessageClass(method.input_type).FromString,
        response_serializer=GetMessageClass(method.output_type).SerializeToString,
    )

"""The private parts of grpcio that quicrpc/client/grpcio.py stands on. If one of these fails after an upgrade, look there first."""

from __future__ import annotations

import inspect
import re

import grpc
from grpc._cython import cygrpc
from grpc.aio import _call, _channel

from quicrpc.client import grpcio
from quicrpc.client.call import H3Call
from quicrpc.client.channel import ChannelCore, MethodCore
from quicrpc.client.channel_h2 import BytesCall
from quicrpc.client.connector import PendingCall

#: What grpc.aio's call objects ask of a core call.
CORE_CALL = {name for name in dir(cygrpc._AioCall) if not name.startswith("_")} | {"_initial_metadata", "_status"}


def test_our_core_calls_have_everything_the_real_one_has() -> None:
    declared = {name for name in vars(grpcio.CoreCall) if not name.startswith("_")} | set(grpcio.CoreCall.__annotations__)
    assert declared == CORE_CALL
    for kind in (H3Call, PendingCall):
        assert set(dir(kind)) >= CORE_CALL, kind
    # BytesCall passes on what it does not define.
    assert hasattr(BytesCall, "__getattr__")


def test_the_python_layer_asks_for_nothing_else() -> None:
    asked = set(re.findall(r"_cython_call\.(\w+)", inspect.getsource(_call)))
    assert asked <= CORE_CALL


def test_channel_core_has_what_the_python_channel_asks() -> None:
    source = inspect.getsource(_channel.Channel)
    for name in re.findall(r"self\._channel\.(\w+)", source):
        assert hasattr(ChannelCore, name), name
    assert hasattr(MethodCore, "call")
    parameters = list(inspect.signature(_channel.UnaryUnaryMultiCallable.__init__).parameters)
    assert parameters[1:8] == [
        "channel",
        "method",
        "request_serializer",
        "response_deserializer",
        "interceptors",
        "references",
        "loop",
    ]
    for name in (
        "_unary_unary_interceptors",
        "_unary_stream_interceptors",
        "_stream_unary_interceptors",
        "_stream_stream_interceptors",
    ):
        assert name in source
    assert "_active_calls" in source


def test_status_constructor() -> None:
    status = grpcio.RpcStatus(5, "details", (("key", "value"),), "debug")
    assert (status.code(), status.details(), status.trailing_metadata(), status.debug_error_string()) == (
        5,
        "details",
        (("key", "value"),),
        "debug",
    )


def test_channel_credentials_can_be_looked_into() -> None:
    handle = grpc.ssl_channel_credentials(b"roots", b"key", b"chain")._credentials
    assert (handle._pem_root_certificates, handle._private_key, handle._certificate_chain) == (b"roots", b"key", b"chain")
    token = grpc.access_token_call_credentials("token")
    assert callable(token._credentials._metadata_plugin)
    both = grpc.composite_call_credentials(token, token)
    assert len(both._credentials._call_credentialses) == 2
    composite = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(), token)._credentials
    assert composite._channel_credentials is not None
    assert len(composite._call_credentialses) == 1

"""One port number, two listeners; a channel that says which it uses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import grpc
import pytest
from grpc import aio

import quicrpc
import quicrpc.aio
from quicrpc.client.connector import BROKEN_QUIC
from quicrpc.gen.echo import echo_pb2, echo_pb2_grpc
from quicrpc.testing.certificates import CertificateAuthority

Message = echo_pb2.EchoMessage
Stub: Any = echo_pb2_grpc.EchoStub


class Servicer(echo_pb2_grpc.EchoServicer):
    def __init__(self) -> None:
        self.user_agents: list[str] = []
        self.began = asyncio.Event()
        self.release = asyncio.Event()
        self.early: list[bool] = []

    async def Unary(self, request: Any, context: Any) -> Any:
        self.user_agents.append(str(dict(tuple(entry) for entry in context.invocation_metadata()).get("user-agent")))
        self.early.append(hasattr(context, "is_early_data") and context.is_early_data())
        if request.body == b"wait":
            self.began.set()
            await self.release.wait()
        return request


@pytest.fixture
async def servicer() -> Servicer:
    return Servicer()


def bind_udp(port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock


# ---- the server's ports


async def test_one_port_number_for_both(start_server: Any, authority: CertificateAuthority) -> None:
    port = await start_server(Servicer())
    # TCP answers with HTTP/2, on the wire.
    context = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    writer.close()
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        await writer.wait_closed()
    # UDP is taken.
    with pytest.raises(OSError, match="in use"):
        bind_udp(port)


async def test_http3_alone(start_server: Any, open_channel: Any) -> None:
    port = await start_server(Servicer(), port_options={"transport": "h3"})
    assert (await Stub(open_channel(port, "h3")).Unary(Message(body=b"x"))).body == b"x"
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_http2_alone(start_server: Any, open_channel: Any) -> None:
    port = await start_server(Servicer(), port_options={"transport": "h2"})
    assert (await Stub(open_channel(port, "h2")).Unary(Message(body=b"x"))).body == b"x"
    bind_udp(port).close()


async def test_insecure_is_http2_only(servicer: Servicer) -> None:
    server = quicrpc.aio.server()
    echo_pb2_grpc.add_EchoServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with quicrpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = Stub(channel).Unary(Message(body=b"x"))
        assert (await call).body == b"x"
        assert quicrpc.aio.transport_of(call) == "h2"
    await server.stop(None)


async def test_localhost_listens_on_every_address(server_credentials: Any, channel_credentials: Any, servicer: Servicer) -> None:
    server = quicrpc.aio.server()
    echo_pb2_grpc.add_EchoServicer_to_server(servicer, server)
    port = server.add_secure_port("[::]:0", server_credentials)
    await server.start()
    for target in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", f"dns:///localhost:{port}", f"ipv4:127.0.0.1:{port}"):
        async with quicrpc.aio.secure_channel(target, channel_credentials, transport="h3") as channel:
            assert (await Stub(channel).Unary(Message(body=b"x"), timeout=10)).body == b"x"
    await server.stop(None)


async def test_busy_udp_port_is_one_clear_sentence(server_credentials: Any) -> None:
    with bind_udp() as taken:
        port = taken.getsockname()[1]
        server = quicrpc.aio.server()
        with pytest.raises(OSError, match=f"cannot listen on UDP 127.0.0.1:{port}: Address already in use"):
            server.add_secure_port(f"127.0.0.1:{port}", server_credentials)
        await server.stop(None)


async def test_busy_tcp_port_is_one_clear_sentence(server_credentials: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = quicrpc.aio.server()
        with pytest.raises(OSError, match=f"cannot listen on TCP 127.0.0.1:{port}: the port is in use"):
            server.add_secure_port(f"127.0.0.1:{port}", server_credentials)
        await server.stop(None)
        bind_udp(port).close()


@pytest.mark.parametrize("address", ["host:port:more", "127.0.0.1:99999", "127.0.0.1:x"])
async def test_malformed_address(server_credentials: Any, address: str) -> None:
    server = quicrpc.aio.server()
    with pytest.raises((ValueError, OSError)):
        server.add_secure_port(address, server_credentials)


async def test_grpcios_own_server_credentials_are_refused_for_http3() -> None:
    leaf = CertificateAuthority().issue()
    credentials = grpc.ssl_server_credentials([(leaf.private_key, leaf.certificate_chain)])
    server = quicrpc.aio.server()
    with pytest.raises(ValueError, match=r"quicrpc\.ssl_server_credentials"):
        server.add_secure_port("127.0.0.1:0", credentials)
    assert server.add_secure_port("127.0.0.1:0", credentials, transport="h2")


# ---- the channel's transport


async def test_h3_is_proven_on_the_wire(start_server: Any, open_channel: Any, servicer: Servicer) -> None:
    channel = open_channel(await start_server(servicer), "h3")
    assert channel.connection_info() is None
    await Stub(channel).Unary(Message())
    assert channel.connection_info().alpn == "h3"
    assert channel.peer_server() == "quicrpc (h3)"
    assert servicer.user_agents[0].startswith("grpc-python-quicrpc/")
    channel = open_channel(await start_server(servicer), "h2")
    await Stub(channel).Unary(Message())
    assert servicer.user_agents[1].startswith("grpc-python-asyncio/")
    assert channel.peer_server() == ""


async def test_auto_prefers_http3(start_server: Any, open_channel: Any, servicer: Servicer) -> None:
    channel = open_channel(await start_server(servicer), "auto")
    call = Stub(channel).Unary(Message(body=b"x"))
    assert quicrpc.aio.transport_of(call) is None
    assert (await call).body == b"x"
    assert quicrpc.aio.transport_of(call) == "h3"
    assert servicer.user_agents[0].startswith("grpc-python-quicrpc/")


async def test_auto_falls_back_and_remembers(start_server: Any, open_channel: Any, servicer: Servicer) -> None:
    port = await start_server(servicer, port_options={"transport": "h2"})
    options = [("quicrpc.head_start_ms", 20), ("quicrpc.connect_timeout_ms", 200)]
    with bind_udp(port):  # a black hole: datagrams arrive and nothing answers
        channel = open_channel(port, "auto", options=options)
        call = Stub(channel).Unary(Message(body=b"x"), timeout=20)
        assert (await call).body == b"x"
        assert quicrpc.aio.transport_of(call) == "h2"
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            while not BROKEN_QUIC.is_broken(f"127.0.0.1:{port}", loop.time()):
                await Stub(channel).Unary(Message())
        # The next channel does not try UDP at all.
        other = open_channel(port, "auto", options=options)
        call = Stub(other).Unary(Message(body=b"y"))
        assert (await call).body == b"y"
        assert quicrpc.aio.transport_of(call) == "h2"
        assert other.connection_info() is None


async def test_auto_with_every_kind_of_call_while_undecided(start_server: Any, open_channel: Any) -> None:
    class Streams(echo_pb2_grpc.EchoServicer):
        async def Stream(self, request: Any, context: Any) -> Any:
            yield request

        async def Bidi(self, request_iterator: Any, context: Any) -> Any:
            async for message in request_iterator:
                yield message

        async def Collect(self, request_iterator: Any, context: Any) -> Any:
            return Message(count=len([message async for message in request_iterator]))

    port = await start_server(Streams())
    for blocked in (False, True):
        options = [("quicrpc.head_start_ms", 0)] if blocked else []
        stub = Stub(open_channel(port, "auto", options=options))
        streamed, chatted, collected = await asyncio.gather(
            stub.Stream(Message(body=b"s")).read(),
            stub.Bidi(iter([Message(body=b"b")])).read(),
            stub.Collect(iter([Message()] * 3)),
        )
        assert (streamed.body, chatted.body, collected.count) == (b"s", b"b", 3)
        assert (await Stub(open_channel(port, "auto", options=options)).Collect(iter(()))).count == 0


async def test_deadline_while_undecided(open_channel: Any) -> None:
    with bind_udp() as hole, socket.create_server(("127.0.0.1", 0)):
        channel = open_channel(hole.getsockname()[1], "auto", options=[("quicrpc.head_start_ms", 10_000)])
        with pytest.raises(aio.AioRpcError) as raised:
            await Stub(channel).Unary(Message(), timeout=0.05)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_cancellation_while_undecided(open_channel: Any) -> None:
    with bind_udp() as hole:
        channel = open_channel(hole.getsockname()[1], "auto", options=[("quicrpc.head_start_ms", 10_000)])
        call = Stub(channel).Unary(Message())
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await call.code() is grpc.StatusCode.CANCELLED


# ---- trust


async def test_server_of_another_authority_is_refused(start_server: Any, open_channel: Any, transport: str) -> None:
    port = await start_server(Servicer())
    credentials = quicrpc.ssl_channel_credentials(CertificateAuthority("somebody else").certificate_pem)
    channel = open_channel(port, transport, credentials=credentials)
    with pytest.raises(aio.AioRpcError) as raised:
        await Stub(channel).Unary(Message(), timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_server_with_another_name_is_refused(open_channel: Any, start_server: Any, authority: CertificateAuthority) -> None:
    leaf = authority.issue(("other.example",))
    credentials = quicrpc.ssl_server_credentials([(leaf.private_key, leaf.certificate_chain)])
    port = await start_server(Servicer(), credentials=credentials)
    with pytest.raises(aio.AioRpcError) as raised:
        await Stub(open_channel(port, "h3")).Unary(Message(), timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    named = open_channel(port, "h3", options=[("grpc.ssl_target_name_override", "other.example")])
    assert (await Stub(named).Unary(Message(body=b"x"))).body == b"x"


async def test_default_roots_come_from_the_environment(
    start_server: Any, open_channel: Any, authority: CertificateAuthority, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = await start_server(Servicer())
    bundle = tmp_path / "roots.pem"
    bundle.write_bytes(authority.certificate_pem)
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(bundle))
    channel = open_channel(port, "h3", credentials=quicrpc.ssl_channel_credentials())
    assert (await Stub(channel).Unary(Message(body=b"x"))).body == b"x"
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(tmp_path / "missing.pem"))
    with pytest.raises(ValueError, match="GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
        open_channel(port, "h3", credentials=quicrpc.ssl_channel_credentials())


# ---- resumption


async def test_resumption_with_early_data(start_server: Any, open_channel: Any, servicer: Servicer) -> None:
    port = await start_server(servicer)
    first = open_channel(port, "h3")
    await Stub(first).Unary(Message())
    assert not first.connection_info().resumed
    await first.close()
    second = open_channel(port, "h3")
    await Stub(second).Unary(Message())
    info = second.connection_info()
    assert info.resumed
    assert info.early_data_accepted
    assert servicer.early == [False, True]


# ---- life


async def test_nobody_listens(open_channel: Any) -> None:
    with bind_udp() as hole:
        channel = open_channel(hole.getsockname()[1], "h3", options=[("quicrpc.connect_timeout_ms", 50)])
        with pytest.raises(aio.AioRpcError) as raised:
            await Stub(channel).Unary(Message())
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "failed to connect" in str(raised.value.details())


async def test_wait_for_ready_outlives_a_failed_attempt(open_channel: Any, server_credentials: Any, servicer: Servicer) -> None:
    hole = bind_udp()
    port = hole.getsockname()[1]
    channel = open_channel(
        port,
        "h3",
        options=[
            ("quicrpc.connect_timeout_ms", 50),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 50),
        ],
    )
    call = Stub(channel).Unary(Message(body=b"x"), wait_for_ready=True, timeout=20)
    while channel.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
        await channel.wait_for_state_change(channel.get_state())
    hole.close()
    server = quicrpc.aio.server()
    echo_pb2_grpc.add_EchoServicer_to_server(servicer, server)
    server.add_secure_port(f"127.0.0.1:{port}", server_credentials, transport="h3")
    await server.start()
    assert (await call).body == b"x"
    await server.stop(None)


async def test_stop_with_grace_lets_calls_finish(
    server_credentials: Any, open_channel: Any, servicer: Servicer, transport: str
) -> None:
    server = quicrpc.aio.server()
    echo_pb2_grpc.add_EchoServicer_to_server(servicer, server)
    port = server.add_secure_port("127.0.0.1:0", server_credentials)
    await server.start()
    call = Stub(open_channel(port, transport)).Unary(Message(body=b"wait"))
    await asyncio.wait_for(servicer.began.wait(), 10)
    stopping = asyncio.create_task(server.stop(10))
    await asyncio.sleep(0)
    servicer.release.set()
    assert (await call).body == b"wait"
    await asyncio.wait_for(stopping, 10)
    assert await server.wait_for_termination(1) is False


async def test_stop_without_grace_cancels_calls(
    server_credentials: Any, open_channel: Any, servicer: Servicer, transport: str
) -> None:
    server = quicrpc.aio.server()
    echo_pb2_grpc.add_EchoServicer_to_server(servicer, server)
    port = server.add_secure_port("127.0.0.1:0", server_credentials)
    await server.start()
    call = Stub(open_channel(port, transport)).Unary(Message(body=b"wait"))
    await asyncio.wait_for(servicer.began.wait(), 10)
    await asyncio.wait_for(server.stop(None), 10)
    with pytest.raises(aio.AioRpcError):
        await call


async def test_channel_reconnects_to_a_restarted_server(server_credentials: Any, open_channel: Any, servicer: Servicer) -> None:
    port = 0
    channel: Any = None
    for _ in range(3):
        server = quicrpc.aio.server()
        echo_pb2_grpc.add_EchoServicer_to_server(servicer, server)
        port = server.add_secure_port(f"127.0.0.1:{port}", server_credentials, transport="h3")
        await server.start()
        channel = channel or open_channel(port, "h3")
        assert (await Stub(channel).Unary(Message(body=b"x"), wait_for_ready=True, timeout=20)).body == b"x"
        await server.stop(1)

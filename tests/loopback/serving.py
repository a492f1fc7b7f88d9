"""A server on a thread and event loop of its own, so that a test may drive a client that blocks."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import quicrpc
import quicrpc.aio
from quicrpc.gen.echo import echo_pb2_grpc
from quicrpc.gen.echo.echo_pb2 import EchoMessage
from quicrpc.services.echo.handlers import Echo
from quicrpc.testing.certificates import CertificateAuthority
from tests.loopback.raw.client import RawClient
from tests.loopback.raw.http3 import Response, data_frame, grpc_message, parse_response, request_headers

__all__ = ["DEADLINE_S", "RecordingEcho", "ServerThread", "call", "echo_bytes", "response_of"]

#: Bounds every wait of a test. Nothing here takes a tenth of it.
DEADLINE_S = 10.0

T = TypeVar("T")


class RecordingEcho(Echo):
    """The echo service, which counts what happens to its handlers.

    Attributes:
        started, cancelled, finished: Method name -> calls.
    """

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self._changed = threading.Condition()

    def _count(self, counter: Counter[str], method: str) -> None:
        with self._changed:
            counter[method] += 1
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait, in the test's thread, until ``condition()``. Raises: TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(condition, DEADLINE_S):
                raise TimeoutError(f"started {self.started}, cancelled {self.cancelled}, finished {self.finished}")

    async def recorded(self, method: str, work: Coroutine[Any, Any, T]) -> T:
        """Count what becomes of ``work``."""
        self._count(self.started, method)
        try:
            result = await work
        except asyncio.CancelledError:
            self._count(self.cancelled, method)
            raise
        finally:
            self._count(self.finished, method)
        return result

    async def Unary(self, request: EchoMessage, context: Any) -> EchoMessage:
        return await self.recorded("Unary", self.unary(request, context))

    async def Bidi(self, request_iterator: AsyncIterator[EchoMessage], context: Any) -> None:  # type: ignore[override]  # both are legal
        await self.recorded("Bidi", self.bidi(request_iterator, context))

    async def Collect(self, request_iterator: AsyncIterator[EchoMessage], context: Any) -> EchoMessage:
        return await self.recorded("Collect", self.collect(request_iterator, context))

    # What a test's servicer overrides

    async def unary(self, request: EchoMessage, context: Any) -> EchoMessage:
        """Serve Unary."""
        return request

    async def bidi(self, requests: AsyncIterator[EchoMessage], context: Any) -> None:
        """Serve Bidi."""
        async for request in requests:
            await context.write(EchoMessage(body=request.body))

    async def collect(self, requests: AsyncIterator[EchoMessage], context: Any) -> EchoMessage:
        """Serve Collect."""
        return await Echo.Collect(self, requests, context)


class ServerThread:
    """``with ServerThread(servicer, authority) as server: ... server.port``

    Args:
        servicer: Serves ``echo.Echo``.
        authority: Signs the server's certificate.
        client_roots: Clients must present a certificate that leads there.
        transport: As ``add_secure_port`` takes it.
        handlers, interceptors, options: As ``quicrpc.aio.server`` takes them.
    """

    def __init__(
        self,
        servicer: echo_pb2_grpc.EchoServicer,
        authority: CertificateAuthority,
        *,
        client_roots: bytes | None = None,
        transport: Any = "h3",
        handlers: Any = None,
        interceptors: Any = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        leaf = authority.issue()
        pairs = [(leaf.private_key, leaf.certificate_chain)]
        self._credentials = quicrpc.ssl_server_credentials(pairs, client_roots, client_roots is not None)
        self._servicer = servicer
        self._transport = transport
        self._handlers = handlers
        self._interceptors = interceptors
        self._options = options
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.authority = authority
        self.port = 0

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = quicrpc.aio.server(handlers=self._handlers, interceptors=self._interceptors, options=self._options)
        echo_pb2_grpc.add_EchoServicer_to_server(self._servicer, server)
        self.port = server.add_secure_port("127.0.0.1:0", self._credentials, transport=self._transport)
        await server.start()
        self._ready.set()
        await self._stop.wait()
        await server.stop(None)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    def connect(self, **arguments: Any) -> RawClient:
        """Return a connected client; arguments are those of ``RawClient.connect``."""
        return RawClient.connect(self.address, self.authority.certificate_pem, **arguments)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


def echo_bytes(body: bytes, **fields: int) -> bytes:
    """Return a serialised EchoMessage."""
    return EchoMessage(body=body, **fields).SerializeToString()


def response_of(client: RawClient, stream: int) -> Response:
    """Wait for the whole response of a stream."""
    state = client.receive_stream(stream, timeout_s=DEADLINE_S)
    assert state.reset_code is None, f"stream {stream} was reset with {state.reset_code:#x}"
    return parse_response(bytes(state.data))


def call(client: RawClient, body: bytes = b"fine") -> EchoMessage:
    """Make a good unary call."""
    stream = client.open_stream()
    client.send(stream, request_headers("/echo.Echo/Unary") + data_frame(grpc_message(echo_bytes(body))), fin=True)
    response = response_of(client, stream)
    assert response.grpc_status == 0, response
    return EchoMessage.FromString(response.messages[0])

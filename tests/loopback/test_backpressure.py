"""What a client that never reads, or a handler that never reads, costs: measured as the memory of a server process."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from quicrpc.gen.echo.echo_pb2 import EchoMessage
from tests.loopback.raw.client import RawClient
from tests.loopback.raw.http3 import HEADERS, data_frame, grpc_message, request_headers, varint
from tests.loopback.serving import DEADLINE_S, call, echo_bytes, response_of

MIB = 1 << 20
#: The server's defaults.
STREAM_WINDOW = 256 * 1024
QUEUE_THRESHOLD = 64 * 1024
SEND_WATERMARK = 64 * 1024
#: Bytes in each message of a stalled download.
WRITE = 64 * 1024
#: Twice what any case here was seen to take, and far below what each would take without a bound.
ALLOWED_GROWTH = 4 * MIB

BIDI, COLLECT, STREAM, UNARY = "/echo.Echo/Bidi", "/echo.Echo/Collect", "/echo.Echo/Stream", "/echo.Echo/Unary"
GZIP = (b"grpc-encoding", b"gzip")
H3_REQUEST_CANCELLED, H3_EXCESSIVE_LOAD = 0x10C, 0x107


class Measured:
    """The server process, seen from outside and, through a connection of its own, from inside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        self.address = ("127.0.0.1", said["port"])
        self._ca = said["ca"].encode()
        self._process = psutil.Process(process.pid)
        self._observer = self.connect()
        # Warm: what the first of each kind of call allocates once is not what is measured.
        with self.connect() as client:
            call(client, bytes(MIB))
            upload(client, MIB)
            download(client, MIB)
        self._idle = self.state()
        self._idle_bytes = 0

    def begin(self) -> None:
        """Measure from here."""
        self.wait_until_idle()
        self._idle = self.state()
        _reset_peak(self._process.pid)
        self._idle_bytes = self._process.memory_info().rss

    def connect(self, **arguments: Any) -> RawClient:
        """Return a connected client."""
        return RawClient.connect(self.address, self._ca, **arguments)

    def state(self) -> Any:
        """Return what the server says about itself, after everything it had received before."""
        return json.loads(call(self._observer, b"state").body)

    def written_bytes(self) -> int:
        """Bytes that Stream's handlers have written."""
        written: int = self.state()["written_bytes"] - self._idle["written_bytes"]
        return written

    def growth(self) -> int:
        """Bytes of memory at the peak since it was idle, above what it had then."""
        self.state()
        return max(_peak(self._process.pid), self._process.memory_info().rss) - self._idle_bytes

    def wait_until_idle(self) -> None:
        """Wait until nothing of the calls is left: no handler, no task."""
        for _ in range(1000):
            state = self.state()
            if state["running"] == 0 and state["tasks"] == self._idle["tasks"]:
                return
        raise AssertionError(f"still busy: {state}, idle was {self._idle}")

    def close(self) -> None:
        """Disconnect the observer."""
        self._observer.close()


def _reset_peak(process: int) -> None:
    if sys.platform == "linux":
        Path(f"/proc/{process}/clear_refs").write_text("5")


def _peak(process: int) -> int:
    """Peak resident bytes; 0 where the system does not tell. Not ru_maxrss: that remembers the parent's, from before exec."""
    if sys.platform != "linux":
        return 0
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


@pytest.fixture(scope="module")
def process() -> Iterator[Measured]:
    """One process for all: starting it takes longer than a test, and what is left of a call is itself under test."""
    script = Path(__file__).with_name("measured_server.py")
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            measured = Measured(started)
            yield measured
            measured.close()
        finally:
            assert started.stdin is not None
            started.stdin.close()
            started.wait(DEADLINE_S)
    assert started.returncode == 0


@pytest.fixture
def server(process: Measured) -> Measured:
    process.begin()
    return process


def upload(client: RawClient, size: int) -> None:
    """Move ``size`` bytes to a handler that reads."""
    stream = client.open_stream()
    body = data_frame(grpc_message(echo_bytes(bytes(size // 8))))
    client.send(stream, request_headers(COLLECT) + 8 * body, fin=True)
    response = response_of(client, stream)
    assert response.grpc_status == 0
    assert EchoMessage.FromString(response.messages[0]) == EchoMessage(count=8, size=size)


def download(client: RawClient, size: int) -> None:
    """Move ``size`` bytes from the server."""
    stream = client.open_stream()
    request = grpc_message(echo_bytes(b"", count=8, size=size // 8))
    client.send(stream, request_headers(STREAM) + data_frame(request), fin=True)
    response = response_of(client, stream)
    assert (response.grpc_status, sum(map(len, response.messages)) >= size) == (0, True)


def settle(client: RawClient) -> None:
    """Wait until the server has acknowledged everything, and so has sent whatever credit that was worth."""
    client.ping()
    client.run_until(lambda: client.quic._loss.bytes_in_flight == 0, DEADLINE_S)


# Client that never reads


def _stalled_download(client: RawClient, window: int, extra: list[tuple[bytes, bytes]]) -> int:
    """Ask for 64 MiB and take no more than the window; return the stream."""
    client.hold_credit()
    stream = client.open_stream()
    request = data_frame(grpc_message(echo_bytes(b"", count=1024, size=WRITE)))
    client.send(stream, request_headers(STREAM, extra) + request, fin=True)
    state = client.stream(stream)
    client.run_until(lambda: len(state.data) >= window, DEADLINE_S)
    settle(client)
    assert len(state.data) == window
    return stream


def test_download_that_nobody_reads_waits_in_write(server: Measured) -> None:
    window = 64 * 1024
    with server.connect(stream_window=window) as client:
        stream = _stalled_download(client, window, [])
        assert server.state()["running"] == 1
        written = server.written_bytes()
        # The window, the watermark, and the message that crossed it.
        assert written <= window + SEND_WATERMARK + WRITE
        assert server.written_bytes() == written
        assert server.growth() < ALLOWED_GROWTH
        client.stop_sending(stream, H3_REQUEST_CANCELLED)
        assert client.receive_stream(stream, timeout_s=DEADLINE_S).reset_code == H3_REQUEST_CANCELLED
        server.wait_until_idle()
        client.hold_credit(False)
        download(client, 8 * MIB)
        upload(client, 8 * MIB)


def test_deadline_ends_a_download_that_nobody_reads(server: Measured) -> None:
    with server.connect(stream_window=1024) as client:
        stream = _stalled_download(client, 1024, [(b"grpc-timeout", b"300m")])
        assert client.receive_stream(stream, timeout_s=DEADLINE_S).reset_code == H3_REQUEST_CANCELLED
        server.wait_until_idle()
        client.hold_credit(False)
        upload(client, MIB)


def test_many_downloads_that_nobody_reads(server: Measured) -> None:
    with server.connect(stream_window=1024) as client:
        client.hold_credit()
        request = data_frame(grpc_message(echo_bytes(b"", count=1000, size=16 * 1024)))
        streams = []
        for _ in range(8):
            streams.append(client.open_stream())
            client.send(streams[-1], request_headers(STREAM) + request, fin=True)
        client.run_until(lambda: all(len(client.stream(stream).data) == 1024 for stream in streams), DEADLINE_S)
        assert server.state()["running"] == 8
        assert server.growth() < ALLOWED_GROWTH
        client.close()
    server.wait_until_idle()


def test_large_message_that_nobody_reads_is_held_twice(server: Measured) -> None:
    """Once by its handler, once by its stream; a write that waits keeps no copies of its own."""
    streams, size = 8, 4_000_000
    with server.connect(stream_window=1024) as client:
        client.hold_credit()
        request = data_frame(grpc_message(echo_bytes(b"", count=1, size=size)))
        for _ in range(streams):
            client.send(client.open_stream(), request_headers(STREAM) + request, fin=True)
        client.run_until(lambda: all(len(client.stream(4 * index).data) == 1024 for index in range(streams)), DEADLINE_S)
        assert server.state()["running"] == streams
        assert server.growth() < 2 * streams * size + 2 * size + ALLOWED_GROWTH
    server.wait_until_idle()


# Handler that never reads


def _small(total: int) -> bytes:
    message = grpc_message(echo_bytes(bytes(1000)))
    return message * (total // len(message))


def _empty(total: int) -> bytes:
    return grpc_message(b"") * (total // 5)


def _bombs(total: int) -> bytes:
    bomb = grpc_message(_gzip_of_zeros(4 * MIB - 8), compressed=1)
    return bomb * (total // len(bomb))


def _one_large(total: int) -> bytes:
    message = grpc_message(echo_bytes(bytes(3 * MIB)))
    return message + _small(total)


def _gzip_of_zeros(size: int) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([packer.compress(bytes(MIB)) for _ in range(size // MIB)]) + packer.compress(bytes(size % MIB)) + packer.flush()


def _stall(client: RawClient, stream: int) -> int:
    """Wait until the stream's sender has stopped at its limit for good; return how many bytes it has sent."""
    quic = client.quic._streams[stream]
    while True:
        client.run_until(lambda: quic.sender.highest_offset == quic.max_stream_data_remote, DEADLINE_S)
        sent = quic.sender.highest_offset
        settle(client)
        if quic.max_stream_data_remote == sent:
            return sent


@pytest.mark.parametrize(("messages", "how"), [(_small, "STOP_SENDING"), (_empty, "RESET_STREAM"), (_bombs, "RESET_STREAM")])
def test_upload_that_nobody_reads_stops_at_the_window(server: Measured, messages: Callable[[int], bytes], how: str) -> None:
    with server.connect() as client:
        stream = client.open_stream()
        client.send(stream, request_headers(BIDI, [GZIP]))
        client.send(stream, data_frame(messages(8 * MIB)))
        sent = _stall(client, stream)
        assert server.state()["running"] == 1
        # What is queued until the stream is paused has returned its credit; a whole window may be read before that.
        assert STREAM_WINDOW <= sent <= 2 * STREAM_WINDOW
        assert server.growth() < ALLOWED_GROWTH
        if how == "RESET_STREAM":
            client.reset(stream, H3_REQUEST_CANCELLED)
        else:
            client.stop_sending(stream, H3_REQUEST_CANCELLED)
        assert client.receive_stream(stream, timeout_s=DEADLINE_S).reset_code == H3_REQUEST_CANCELLED
        server.wait_until_idle()
        upload(client, 8 * MIB)
        download(client, 8 * MIB)


def test_upload_of_one_large_message_is_held_once(server: Measured) -> None:
    with server.connect() as client:
        stream = client.open_stream()
        client.send(stream, request_headers(BIDI))
        client.send(stream, data_frame(_one_large(8 * MIB)))
        sent = _stall(client, stream)
        # Credit is returned a quarter of the window at a time.
        assert 3 * MIB + STREAM_WINDOW * 3 // 4 <= sent <= 3 * MIB + 2 * STREAM_WINDOW
        assert server.growth() < 2 * 3 * MIB + ALLOWED_GROWTH


def test_stalled_uploads_do_not_stop_a_reading_one_on_their_connection_once_cancelled(server: Measured) -> None:
    """Complete requests nobody reads hold the connection's window too (RFC 9000, 4.1): cancelled, they must give it back."""
    with server.connect() as client:
        for _ in range(12):
            stream = client.open_stream()
            client.send(stream, request_headers(BIDI))
            client.send(stream, data_frame(_small(QUEUE_THRESHOLD + 4096)))
            settle(client)  # the stream is paused now
            client.send(stream, data_frame(_small(STREAM_WINDOW - QUEUE_THRESHOLD)), fin=True)
            settle(client)
            client.stop_sending(stream, H3_REQUEST_CANCELLED)
            assert client.receive_stream(stream, timeout_s=DEADLINE_S).reset_code == H3_REQUEST_CANCELLED
        server.wait_until_idle()
        upload(client, 8 * MIB)


# Sizes that only claim to be large, or become so


def test_gzip_bomb_is_bounded_while_it_inflates(server: Measured) -> None:
    with server.connect() as client:
        for path in (UNARY, COLLECT):
            stream = client.open_stream()
            bomb = grpc_message(_gzip_of_zeros(128 * MIB), compressed=1)
            client.send(stream, request_headers(path, [GZIP]) + data_frame(bomb), fin=True)
            assert response_of(client, stream).grpc_status == 8
        # The limit of a message, 4 MiB, while zlib's output grows and is copied once.
        assert server.growth() < 8 * MIB + ALLOWED_GROWTH
        assert call(client).body == b"fine"


def test_declared_lengths_reserve_nothing(server: Measured) -> None:
    with server.connect() as client:
        for _ in range(200):
            stream = client.open_stream()
            client.send(stream, request_headers(COLLECT) + data_frame(grpc_message(b"x", declared=4 * MIB)))
        settle(client)
        assert server.growth() < ALLOWED_GROWTH
        assert call(client).body == b"fine"


def test_frame_of_unknown_type_and_absurd_length_is_skipped_unstored(server: Measured) -> None:
    with server.connect() as client:
        for start in (b"", request_headers(COLLECT)):
            stream = client.open_stream()
            client.send(stream, start + varint(0x21) + varint(1 << 60))
            client.send(stream, bytes(8 * MIB))
            sender = client.quic._streams[stream].sender
            client.run_until(lambda sender=sender: sender.highest_offset >= 8 * MIB, DEADLINE_S)  # type: ignore[misc]
            settle(client)
        assert server.growth() < ALLOWED_GROWTH
        assert call(client).body == b"fine"


def test_header_section_of_absurd_length_is_refused_unstored(server: Measured) -> None:
    with server.connect() as client:
        for length in (16 * 1024 + 1, 1 << 30, 1 << 60):
            stream = client.open_stream()
            client.send(stream, varint(HEADERS) + varint(length))
            assert client.receive_stream(stream, timeout_s=DEADLINE_S).reset_code == H3_EXCESSIVE_LOAD
            assert call(client).body == b"fine"
        # Unfinished sections within the limit are all that waits.
        for _ in range(100):
            client.send(client.open_stream(), varint(HEADERS) + varint(16 * 1024) + bytes(1024))
        settle(client)
        assert server.growth() < ALLOWED_GROWTH
        assert call(client).body == b"fine"

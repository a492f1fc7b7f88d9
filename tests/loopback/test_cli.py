"""The ``quicrpc`` command against a server that it started: every command, over both transports."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from quicrpc.cli.__main__ import app
from quicrpc.cli.certs import write_certificates

SERVE = [sys.executable, "-m", "quicrpc", "serve"]
PROTO = """
syntax = "proto3";
package echo;
message Same { bytes body = 1; }
service Echo { rpc Unary(Same) returns (Same); }
"""


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certs")
    write_certificates(directory, ["localhost", "127.0.0.1"], "client", 1, force=False)
    return directory


def serve_command(certs, data_dir, *args):
    files = ("--cert", certs / "server.pem", "--key", certs / "server.key", "--data-dir", data_dir)
    return [*SERVE, *map(str, files), *map(str, args)]


@contextmanager
def serving(certs, data_dir, *args):
    """Run ``quicrpc serve --port 0``; yields the process and its host:port."""
    command = serve_command(certs, data_dir, "--port", 0, *args)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        yield process, re.search(r" on (\S+:\d+) ", line)[1], line
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def target(certs, tmp_path_factory):
    with serving(certs, tmp_path_factory.mktemp("data")) as (_, address, _):
        yield address


@pytest.fixture(params=["h3", "h2"])
def transport(request):
    return request.param


@pytest.fixture
def quicrpc(certs, target, transport):
    """Run a command against the server over one transport."""

    def invoke(command, *args, stdin=None):
        arguments = [command, target, *map(str, args), "--ca", str(certs / "ca.pem"), "--transport", transport]
        return CliRunner().invoke(app, arguments, input=stdin)

    return invoke


def b64(body):
    return base64.b64encode(body).decode()


def answers(result):
    return [base64.b64decode(json.loads(line).get("body", "")) for line in result.stdout.splitlines()]


def test_call_unary(quicrpc, transport):
    result = quicrpc("call", "echo.Echo/Unary", json.dumps({"body": b64(b"hello")}))
    assert (result.exit_code, answers(result)) == (0, [b"hello"])
    assert re.fullmatch(rf"OK \({transport}, [0-9.]+ ms\)\n", result.stderr)


@pytest.mark.parametrize("method", ["/echo.Echo/Unary", "echo.Echo.Unary"])
def test_call_takes_other_spellings_and_sends_an_empty_request(quicrpc, method):
    result = quicrpc("call", method)
    assert (result.exit_code, result.stdout) == (0, "{}\n")


def test_call_server_stream(quicrpc):
    result = quicrpc("call", "echo.Echo/Stream", json.dumps({"body": b64(b"x"), "count": 3}))
    assert (result.exit_code, answers(result)) == (0, [b"x"] * 3)


def test_call_client_stream_from_standard_input(quicrpc):
    messages = "\n".join(json.dumps({"body": b64(bytes(size))}) for size in (1, 2, 3))
    result = quicrpc("call", "echo.Echo/Collect", "-", stdin=messages)
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"count": 3, "size": "6"})


def test_call_bidi(quicrpc):
    result = quicrpc("call", "echo.Echo/Bidi", json.dumps({"body": b64(b"a")}) + json.dumps({"body": b64(b"b")}))
    assert (result.exit_code, answers(result)) == (0, [b"a", b"b"])


def test_call_with_proto_files(quicrpc, tmp_path):
    (tmp_path / "same.proto").write_text(PROTO)
    result = quicrpc("call", "echo.Echo/Unary", json.dumps({"body": b64(b"same")}), "--proto", tmp_path)
    assert (result.exit_code, answers(result)) == (0, [b"same"])


def test_call_by_reflection(quicrpc):
    # Nothing installed here knows this service: its types come from the server.
    result = quicrpc("call", "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", '{"listServices": ""}')
    assert result.exit_code == 0
    services = {service["name"] for service in json.loads(result.stdout)["listServicesResponse"]["service"]}
    assert {"echo.Echo", "sky_genesis.StreamingService", "sky_genesis.Health"} <= services


def test_call_a_service_that_nobody_knows(quicrpc):
    result = quicrpc("call", "no.Such/Method")
    assert result.exit_code == 1
    assert "nothing defines the service no.Such" in result.stderr


@pytest.mark.parametrize(
    ("method", "request_json", "exit_code", "status"),
    [
        ("sky_genesis.StreamingService/StatFile", '{"name": "none"}', 64 + 5, "NOT_FOUND: no file has this name"),
        ("sky_genesis.StreamingService/StatFile", '{"name": "../x"}', 64 + 3, "INVALID_ARGUMENT: name has a part"),
        ("grpc.health.v1.Health/Check", '{"service": "none"}', 64 + 5, "NOT_FOUND"),
        ("echo.Echo/Stream", '{"count": 2000000}', 64 + 3, "INVALID_ARGUMENT: count is at most"),
    ],
)
def test_call_exits_with_the_status(quicrpc, method, request_json, exit_code, status):
    result = quicrpc("call", method, request_json)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert result.stderr.startswith(status)


def test_call_past_its_deadline(quicrpc):
    result = quicrpc("call", "grpc.health.v1.Health/Watch", "{}", "--timeout", "0.2")
    assert result.exit_code == 64 + 4
    assert "DEADLINE_EXCEEDED" in result.stderr


def test_call_verbose_shows_metadata(quicrpc):
    result = quicrpc("call", "echo.Echo/Unary", "-v", "-H", "x-text: t", "-H", "x-data-bin: AAE=")
    assert result.exit_code == 0 and result.stderr.splitlines()[-1].startswith("OK ")


def write_tree(root):
    files = {"a.txt": b"a", "empty": b"", "deep/er/b.bin": os.urandom(700_000), "deep/ü.txt": b"u", ".git/config": b"c"}
    for name, body in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return files


def read_tree(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_put_and_get_a_file(quicrpc, tmp_path, transport):
    body = os.urandom(1_500_000)
    (tmp_path / "file").write_bytes(body)
    assert quicrpc("put", tmp_path / "file", "--name", f"{transport}/one").exit_code == 0
    result = quicrpc("get", f"{transport}/one", tmp_path / "copy")
    assert result.exit_code == 0
    assert (tmp_path / "copy").read_bytes() == body


def test_put_and_get_a_tree(quicrpc, tmp_path, transport):
    files = write_tree(tmp_path / "tree")
    name = f"tree-{transport}"
    result = quicrpc("put", tmp_path / "tree", "--name", name, "--skip", ".git")
    assert (result.exit_code, result.stdout) == (0, f"4 files, 700002 bytes sent as {name}\n")
    assert quicrpc("get", f"{name}/", tmp_path / "copy", "--in-flight", "2").exit_code == 0
    del files[".git/config"]
    assert read_tree(tmp_path / "copy") == files


def test_get_goes_on_where_it_was_interrupted(quicrpc, tmp_path, transport):
    body = os.urandom(900_000)
    (tmp_path / "file").write_bytes(body)
    name = f"{transport}/big"
    quicrpc("put", tmp_path / "file", "--name", name)
    info = json.loads(quicrpc("call", "sky_genesis.StreamingService/StatFile", json.dumps({"name": name})).stdout)
    (tmp_path / f"copy.{info['objectId']}.part").write_bytes(body[:500_000])
    assert quicrpc("get", name, tmp_path / "copy").exit_code == 0
    assert (tmp_path / "copy").read_bytes() == body
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "file"]


def test_get_what_is_not_there(quicrpc, tmp_path):
    result = quicrpc("get", "none", tmp_path / "copy")
    assert result.exit_code == 1
    assert "no file and no directory called none" in result.stderr


def test_get_where_nothing_can_be_written(quicrpc, tmp_path, transport):
    (tmp_path / "file").write_bytes(b"x")
    quicrpc("put", tmp_path / "file", "--name", f"{transport}/x")
    result = quicrpc("get", f"{transport}/x", tmp_path / "file" / "copy")
    assert result.exit_code == 1
    assert result.stderr.startswith("quicrpc: cannot write ")


def test_a_server_that_is_not_there_is_unavailable(certs):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        arguments = ["put", address, str(certs / "ca.pem"), "--ca", str(certs / "ca.pem"), "--transport", "h2"]
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 64 + 14
    assert result.stderr.startswith("quicrpc: UNAVAILABLE")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_drains_on_a_signal(certs, tmp_path, number):
    with serving(certs, tmp_path) as (process, _, line):
        assert "content, echo" in line and "HTTP/3 (UDP) and HTTP/2 (TCP)" in line
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert output.splitlines() == ["draining, at most 10 s", "stopped"]
    assert errors == ""


def test_serve_lets_a_call_finish_and_refuses_new_ones(certs, tmp_path):
    with serving(certs, tmp_path, "--grace", "0.5") as (process, address, _):
        command = [sys.executable, "-m", "quicrpc", "call", address, "grpc.health.v1.Health/Watch", "--transport", "h2"]
        client = subprocess.Popen(
            [*command, "--ca", str(certs / "ca.pem")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert json.loads(client.stdout.readline()) == {"status": "SERVING"}
        process.send_signal(signal.SIGTERM)
        assert json.loads(client.stdout.readline()) == {"status": "NOT_SERVING"}
        process.communicate(timeout=20)
        client.communicate(timeout=20)
    assert process.returncode == 0
    assert client.returncode >= 64


@pytest.mark.parametrize(("listeners", "open_to"), [("h3", ["h3"]), ("h2", ["h2"])])
def test_serve_one_listener(certs, tmp_path, listeners, open_to):
    with serving(certs, tmp_path, "--transport", listeners, "--family", "echo") as (_, address, line):
        assert line.startswith("serving echo on ")
        arguments = ["call", address, "echo.Echo/Unary", "--ca", str(certs / "ca.pem"), "--timeout", "1"]
        codes = {name: CliRunner().invoke(app, [*arguments, "--transport", name]).exit_code for name in ("h3", "h2")}
    assert [name for name, code in codes.items() if code == 0] == open_to


def failed_start(certs, tmp_path, *args):
    done = subprocess.run(serve_command(certs, tmp_path / "data", *args), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["TCP", "UDP"])
def test_serve_on_a_busy_port(certs, tmp_path, kind):
    with socket.socket(type=kind) as busy:
        busy.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            busy.listen()
        port = busy.getsockname()[1]
        assert f"quicrpc: cannot listen on 127.0.0.1:{port}: " in failed_start(certs, tmp_path, "--port", port)


def test_serve_with_a_data_directory_that_cannot_be_used(certs, tmp_path):
    (tmp_path / "data").write_bytes(b"a file")
    assert "quicrpc: cannot use the data directory" in failed_start(certs, tmp_path, "--port", 0)


def test_serve_asks_for_client_certificates(certs, tmp_path, transport):
    with serving(certs, tmp_path, "--client-ca", certs / "ca.pem") as (_, address, _):
        arguments = ["call", address, "echo.Echo/Unary", "--ca", str(certs / "ca.pem"), "--transport", transport, "--timeout", "2"]
        mine = ["--cert", str(certs / "client.pem"), "--key", str(certs / "client.key")]
        assert CliRunner().invoke(app, [*arguments, *mine]).exit_code == 0
        assert CliRunner().invoke(app, arguments).exit_code >= 64


def test_demo_of_a_small_tree(tmp_path):
    write_tree(tmp_path / "tree")
    command = [sys.executable, "-m", "quicrpc", "demo", "--tree", str(tmp_path / "tree")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env={**os.environ, "COLUMNS": "100"})
    assert done.returncode == 0, done.stderr
    assert "WRONG" not in done.stdout and done.stdout.count("all right") == 8
    assert "h3, QUIC v1" in done.stdout and "h2, TLSv1.3" in done.stdout

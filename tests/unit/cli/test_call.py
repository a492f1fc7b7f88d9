"""What ``quicrpc call`` refuses before it connects to anything."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from quicrpc.cli import schemas
from quicrpc.cli.__main__ import app
from quicrpc.testing.certificates import CertificateAuthority

PROTO = """
syntax = "proto3";
package toy;
import "google/protobuf/empty.proto";
service Toy { rpc Play(google.protobuf.Empty) returns (google.protobuf.Empty); }
"""


@pytest.fixture
def call(tmp_path):
    (tmp_path / "ca.pem").write_bytes(CertificateAuthority().certificate_pem)

    def invoke(*args, stdin=None):
        return CliRunner().invoke(app, ["call", "localhost:1", *args, "--ca", str(tmp_path / "ca.pem")], input=stdin)

    return invoke


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["Unary"], "not of the form package.Service/Method"),
        (["echo.Echo/"], "not of the form package.Service/Method"),
        (["echo.Echo/Nothing"], "the service echo.Echo has no method Nothing"),
        (["echo.Echo/Unary", "{"], "the request is not JSON"),
        (["echo.Echo/Unary", "{} {}"], "takes one request, not 2"),
        (["echo.Echo/Unary", '{"nothing": 1}'], "the request is no echo.EchoMessage"),
        (["echo.Echo/Unary", "3"], "the request is no echo.EchoMessage"),
        (["echo.Echo/Unary", "-H", "no colon"], "not of the form 'name: value'"),
        (["echo.Echo/Unary", "-H", "x-bin: ***"], "not base64"),
        (["echo.Echo/Unary", "--cert", "client.pem"], "--cert and --key go together"),
        (["echo.Echo/Unary", "--proto", "nowhere.proto"], "nowhere.proto does not exist"),
    ],
)
def test_mistakes_are_one_sentence(call, arguments, sentence):
    result = call(*arguments)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert result.stderr.startswith("quicrpc: ") and result.stdout == "" and "Traceback" not in result.stderr


def test_json_comes_from_standard_input(call):
    assert "not JSON" in call("echo.Echo/Unary", "-", stdin="{").stderr


def test_an_authority_that_is_missing(tmp_path):
    result = CliRunner().invoke(app, ["call", "localhost:1", "echo.Echo/Unary", "--ca", str(tmp_path / "none.pem")])
    assert result.exit_code == 1
    assert "none.pem: No such file or directory; `quicrpc certs` makes one" in result.stderr


def test_a_proto_with_a_mistake_shows_what_protoc_says(call, tmp_path):
    (tmp_path / "bad.proto").write_text("message {")
    result = call("toy.Toy/Play", "--proto", str(tmp_path / "bad.proto"))
    assert result.exit_code == 1
    assert "bad.proto:1:" in result.stderr


@pytest.mark.parametrize("source", ["toy.proto", "."], ids=["file", "directory"])
def test_methods_of_proto_files(tmp_path, source):
    (tmp_path / "toy.proto").write_text(PROTO)
    pool = schemas.compiled([tmp_path / source], [])
    method = schemas.find_method(pool, "toy.Toy", "Play")
    assert method.input_type.full_name == "google.protobuf.Empty"
    assert schemas.find_method(pool, "toy.Other", "Play") is None


def test_methods_of_installed_families():
    pool = schemas.installed()
    known = {"echo.Echo": "Unary", "sky_genesis.StreamingService": "UploadFile", "grpc.health.v1.Health": "Check"}
    for service, method in known.items():
        assert schemas.find_method(pool, service, method).name == method

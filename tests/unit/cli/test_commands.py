"""What the other commands refuse before they connect or listen."""

from __future__ import annotations

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from typer.testing import CliRunner

from quicrpc import __version__
from quicrpc.cli.__main__ import app
from quicrpc.cli.failure import status_line


def invoke(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def certs(tmp_path):
    invoke("certs", tmp_path / "certs")
    return tmp_path / "certs"


def is_sentence(result, *parts):
    return result.exit_code == 1 and result.stderr.startswith("quicrpc: ") and all(part in result.stderr for part in parts)


def test_version():
    assert invoke("--version").stdout == f"quicrpc {__version__}\n"


@pytest.mark.parametrize("command", ["serve", "call", "put", "get", "certs", "demo"])
def test_every_command_has_help(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0 and "Usage" in result.stdout


@pytest.mark.parametrize("missing", ["server.pem", "server.key"])
def test_serve_without_certificate_or_key(certs, missing):
    (certs / missing).unlink()
    result = invoke("serve", "--cert", certs / "server.pem", "--key", certs / "server.key")
    assert is_sentence(result, missing, "No such file", "quicrpc certs")


def test_serve_with_a_directory_for_a_key(certs):
    result = invoke("serve", "--cert", certs / "server.pem", "--key", certs)
    assert is_sentence(result, "Is a directory")


@pytest.mark.parametrize("damage", ["no key", "the key of another certificate", "no certificate", "a key with a password"])
def test_serve_with_a_certificate_and_key_that_do_not_fit(certs, damage):
    if damage == "no key":
        (certs / "server.key").write_bytes(b"no key")
    elif damage == "the key of another certificate":
        (certs / "client.key").replace(certs / "server.key")
    elif damage == "no certificate":
        (certs / "server.pem").write_bytes(b"no certificate")
    else:
        key = load_pem_private_key((certs / "server.key").read_bytes(), None)
        locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
        (certs / "server.key").write_bytes(locked)
    result = invoke("serve", "--cert", certs / "server.pem", "--key", certs / "server.key")
    assert is_sentence(result, "cannot use the certificate", "server.pem", "server.key")


def test_serve_with_a_missing_authority_of_clients(certs):
    result = invoke("serve", "--cert", certs / "server.pem", "--key", certs / "server.key", "--client-ca", certs / "none.pem")
    assert is_sentence(result, "none.pem", "authority of client certificates")


def test_serve_an_unknown_family():
    assert is_sentence(invoke("serve", "--family", "nothing"), "'nothing'", "content, echo")


def test_serve_with_an_unknown_log_level():
    assert is_sentence(invoke("serve", "--log-level", "LOUD"), "'LOUD'")


@pytest.mark.parametrize("arguments", [("--port", "65536"), ("--port", "-1"), ("--transport", "h4"), ("--grace", "-1")])
def test_serve_with_options_out_of_range(arguments):
    assert invoke("serve", *arguments).exit_code == 2


def test_put_a_file_that_is_missing(tmp_path):
    assert is_sentence(invoke("put", "localhost:1", tmp_path / "none"), "none", "No such file")


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a\\b"])
def test_put_and_get_with_illegal_names(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    assert is_sentence(invoke("put", "localhost:1", tmp_path / "file", "--name", name), "cannot send")
    assert is_sentence(invoke("get", "localhost:1", name), "cannot fetch")


def test_put_a_tree_with_a_file_that_has_no_legal_name(tmp_path):
    (tmp_path / "back\\slash").write_bytes(b"")
    assert is_sentence(invoke("put", "localhost:1", tmp_path), "backslash")


def test_a_certificate_authority_that_is_none(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "ca.pem").mkdir()
    assert is_sentence(invoke("put", "localhost:1", tmp_path / "file", "--ca", tmp_path / "ca.pem"), "Is a directory")


def test_demo_of_a_tree_that_is_missing(tmp_path):
    assert is_sentence(invoke("demo", "--tree", tmp_path / "none"), "no directory")


def test_a_servers_text_cannot_move_the_cursor():
    assert status_line(grpc.StatusCode.UNKNOWN, "a\x1b[2J\nb") == r"UNKNOWN: a\x1b[2J\nb"
    assert status_line(grpc.StatusCode.OK, "") == "OK"

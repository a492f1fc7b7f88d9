from __future__ import annotations

import datetime
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from typer.testing import CliRunner

from quicrpc.cli.__main__ import app

FILES = ["ca.pem", "client.key", "client.pem", "server.key", "server.pem"]


def invoke(*args):
    return CliRunner().invoke(app, ["certs", *map(str, args)])


def certificate(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_writes_five_files_and_says_where(tmp_path):
    result = invoke(tmp_path / "new" / "certs")
    assert result.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "new" / "certs").iterdir()) == FILES
    assert len(result.stdout.split()) == 5


@pytest.mark.parametrize("name", ["server", "client"])
def test_keys_are_private_and_fit_their_certificates(tmp_path, name):
    invoke(tmp_path)
    key = tmp_path / f"{name}.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    public = load_pem_private_key(key.read_bytes(), None).public_key()
    leaf = certificate(tmp_path / f"{name}.pem")
    assert leaf.public_key() == public
    leaf.verify_directly_issued_by(certificate(tmp_path / "ca.pem"))


def test_names_and_days(tmp_path):
    invoke(tmp_path, "--name", "example.test", "--name", "192.0.2.1", "--client-name", "alice", "--days", "3")
    server, client = certificate(tmp_path / "server.pem"), certificate(tmp_path / "client.pem")
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["example.test"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1"]
    assert client.subject.rfc4514_string() == "CN=alice"
    left = server.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=2) < left <= datetime.timedelta(days=3)


@pytest.mark.parametrize("name", FILES)
def test_refuses_to_replace_any_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    result = invoke(tmp_path)
    assert result.exit_code == 1
    assert name in result.stderr and "--force" in result.stderr
    assert contents(tmp_path) == {name: b"mine"}


def test_force_replaces_and_makes_keys_private_again(tmp_path):
    invoke(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "server.key").chmod(0o644)
    assert invoke(tmp_path, "--force").exit_code == 0
    after = contents(tmp_path)
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in FILES)
    assert stat.S_IMODE((tmp_path / "server.key").stat().st_mode) == 0o600


def test_a_link_in_the_place_of_a_key_is_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    directory = tmp_path / "certs"
    directory.mkdir()
    (directory / "server.key").symlink_to(elsewhere)
    assert invoke(directory, "--force").exit_code == 0
    assert elsewhere.read_bytes() == b"mine"
    assert not (directory / "server.key").is_symlink()


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    result = invoke(tmp_path / "file" / "certs")
    assert result.exit_code == 1
    assert result.stderr.startswith("quicrpc: cannot write ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize("arguments", [("--days", "0"), ("--days", "x"), ("--nonsense",)])
def test_bad_options(tmp_path, arguments):
    assert invoke(tmp_path, *arguments).exit_code == 2
    assert not list(tmp_path.iterdir())

"""``python -m quicrpc.interop server|client``; the flags are those of gRPC's other interoperability programs."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grpc import aio

import quicrpc
import quicrpc.aio
from quicrpc.gen.testing import test_pb2_grpc
from quicrpc.interop.cases import CASES, CaseFailed
from quicrpc.interop.service import TestService
from quicrpc.interop.soak import SoakOptions, soak

_SOAKS = ("rpc_soak", "channel_soak")


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m quicrpc.interop", allow_abbrev=False)
    roles = parser.add_subparsers(dest="role", required=True)

    server = roles.add_parser("server", help="serve grpc.testing.TestService until SIGTERM")
    server.add_argument("--port", type=int, default=8443)
    server.add_argument("--use_tls", type=_truth, default=True, help="false: plain text, over HTTP/2 only")
    server.add_argument("--transport", choices=("both", "h3", "h2"), default="both")
    server.add_argument("--cert_file", type=Path, default=Path("certs/server.pem"))
    server.add_argument("--key_file", type=Path, default=Path("certs/server.key"))

    client = roles.add_parser("client", help="run one case, or all of them; the exit code tells")
    client.add_argument("--server_host", default="localhost")
    client.add_argument("--server_port", type=int, default=8443)
    client.add_argument("--server_host_override", default="", help="the name the server's certificate must carry")
    client.add_argument("--test_case", choices=(*CASES, *_SOAKS, "all"), default="large_unary")
    client.add_argument("--use_tls", type=_truth, default=True, help="false: plain text, over HTTP/2 only")
    client.add_argument("--use_test_ca", type=_truth, default=False, help="trust --ca_file instead of the default roots")
    client.add_argument("--ca_file", type=Path, default=Path("certs/ca.pem"))
    client.add_argument("--transport", choices=("auto", "h3", "h2"), default="h3")
    soaking = SoakOptions()
    client.add_argument("--soak_iterations", type=int, default=soaking.iterations)
    client.add_argument("--soak_max_failures", type=int, default=soaking.max_failures)
    client.add_argument("--soak_per_iteration_max_acceptable_latency_ms", type=int, default=int(soaking.max_latency_s * 1000))
    client.add_argument("--soak_overall_timeout_seconds", type=int, default=int(soaking.overall_timeout_s))
    client.add_argument("--soak_min_time_ms_between_rpcs", type=int, default=int(soaking.min_interval_s * 1000))
    client.add_argument("--soak_request_size", type=int, default=soaking.request_size)
    client.add_argument("--soak_response_size", type=int, default=soaking.response_size)
    return parser


async def _serve(flags: argparse.Namespace) -> None:
    server = quicrpc.aio.server()
    test_pb2_grpc.add_TestServiceServicer_to_server(TestService(), server)
    if flags.use_tls:
        pair = (flags.key_file.read_bytes(), flags.cert_file.read_bytes())
        credentials = quicrpc.ssl_server_credentials([pair])
        port = server.add_secure_port(f"[::]:{flags.port}", credentials, transport=flags.transport)
    else:
        port = server.add_insecure_port(f"[::]:{flags.port}")
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await server.start()
    _say(f"Server listening on port {port}")
    await stopped.wait()
    await server.stop(None)


def _open_channel(flags: argparse.Namespace) -> Any:
    target = f"{flags.server_host}:{flags.server_port}"
    if not flags.use_tls:
        return quicrpc.aio.insecure_channel(target)
    roots = flags.ca_file.read_bytes() if flags.use_test_ca else None
    options = [("grpc.ssl_target_name_override", flags.server_host_override)] if flags.server_host_override else None
    return quicrpc.aio.secure_channel(target, quicrpc.ssl_channel_credentials(roots), options, transport=flags.transport)


async def _run_case(name: str, flags: argparse.Namespace) -> None:
    if name in _SOAKS:
        options = SoakOptions(
            flags.soak_iterations,
            flags.soak_max_failures,
            flags.soak_per_iteration_max_acceptable_latency_ms / 1000,
            flags.soak_overall_timeout_seconds,
            flags.soak_min_time_ms_between_rpcs / 1000,
            flags.soak_request_size,
            flags.soak_response_size,
        )
        await soak(lambda: _open_channel(flags), options, fresh_channels=name == "channel_soak")
        return
    async with _open_channel(flags) as channel:
        await CASES[name](channel)


async def _run_cases(flags: argparse.Namespace) -> int:
    failed = 0
    for name in (*CASES, *_SOAKS) if flags.test_case == "all" else (flags.test_case,):
        try:
            await _run_case(name, flags)
        except (CaseFailed, aio.AioRpcError) as error:
            failed += 1
            _say(f"FAILED {name}: {error}")
        else:
            _say(f"passed {name}")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the role the arguments name. Returns the exit code."""
    flags = _parser().parse_args(arguments)
    try:
        if flags.role == "client":
            return asyncio.run(_run_cases(flags))
        asyncio.run(_serve(flags))
    except OSError as error:
        _say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

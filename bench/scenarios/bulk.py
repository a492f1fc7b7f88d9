"""64 MiB on one stream, in messages of 1 MiB, each way."""

from __future__ import annotations

from bench.harness import Column, Load, Sample, Scenario
from bench.programs import LoadOptions

_MIB = 1 << 20


def _megabytes_per_second(sample: Sample) -> float:
    # The other direction carries one message, or none.
    return float(max(sample["bytes_sent"], sample["bytes_received"]) / sample["seconds"] / 1e6)


def _cpu_per_mib(sample: Sample) -> float:
    return float(sample["cpu_us_per_call"] / sample["messages_per_call"])


SCENARIO = Scenario(
    name="bulk",
    question="How fast do 64 MiB travel on one stream?",
    peers=("quicrpc-h3", "quicrpc-h2", "grpc.aio", "grpcio-sync", "grpclib", "quic-go", "grpc-go"),
    loads=(
        Load("download", LoadOptions("stream", connections=1, in_flight=1, body_bytes=_MIB, messages=64)),
        Load("upload", LoadOptions("collect", connections=1, in_flight=1, body_bytes=_MIB, messages=64)),
    ),
    columns=(
        Column("MB/s", _megabytes_per_second, digits=1),
        Column("CPU us/MiB", _cpu_per_mib),
        Column("errors", lambda sample: sample["errors"]),
    ),
)

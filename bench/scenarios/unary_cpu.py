"""Server CPU per unary call: the figure that does not depend on how fast the client is."""

from __future__ import annotations

from bench.harness import COMMON_COLUMNS, Column, Load, Scenario
from bench.programs import LoadOptions

SCENARIO = Scenario(
    name="unary_cpu",
    question="What does one unary call of 32 bytes cost the server?",
    peers=("quicrpc-h3", "quicrpc-h2", "grpc.aio", "grpc.aio-uvloop", "grpcio-sync", "grpclib", "quic-go", "grpc-go"),
    loads=tuple(
        Load(f"{connections} x {in_flight}", LoadOptions(connections=connections, in_flight=in_flight))
        for connections, in_flight in ((4, 32), (1, 32), (1, 1))
    ),
    columns=(Column("CPU us/call", lambda sample: sample["cpu_us_per_call"], digits=1), *COMMON_COLUMNS),
)

"""The cases ``rpc_soak`` and ``channel_soak``: large unary calls, many times, on one channel or each on its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from grpc import aio

from quicrpc.interop.cases import CaseFailed, large_unary

__all__ = ["SoakOptions", "SoakResult", "soak"]


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """How much to ask for, and how much may go wrong.

    Attributes:
        iterations: Calls.
        max_failures: Calls that may fail or be late.
        max_latency_s: A call that takes longer is late.
        overall_timeout_s: All calls must have been made by then.
        min_interval_s: Between the starts of two calls.
        request_size, response_size: Bytes in the payloads.
    """

    iterations: int = 10
    max_failures: int = 0
    max_latency_s: float = 1.0
    overall_timeout_s: float = 10.0
    min_interval_s: float = 0.0
    request_size: int = 271828
    response_size: int = 314159


@dataclass(frozen=True, slots=True)
class SoakResult:
    """What a soak came to: how long each call took, in seconds, and what went wrong."""

    latencies_s: tuple[float, ...]
    failures: tuple[str, ...]


async def soak(open_channel: Callable[[], Any], options: SoakOptions, *, fresh_channels: bool) -> SoakResult:
    """Make the calls, one after another.

    Args:
        open_channel: Opens a channel to the server.
        fresh_channels: A channel for each call (channel_soak) instead of one for all (rpc_soak).
    Raises:
        CaseFailed: too many failures, or too little time.
    """
    latencies: list[float] = []
    failures: list[str] = []
    end = time.monotonic() + options.overall_timeout_s
    channel = None
    try:
        for _ in range(options.iterations):
            started = time.monotonic()
            if started >= end:
                break
            if channel is None:
                channel = open_channel()
            try:
                await large_unary(channel, options.request_size, options.response_size)
            except (aio.AioRpcError, CaseFailed) as error:
                failures.append(str(error))
            latencies.append(time.monotonic() - started)
            if latencies[-1] > options.max_latency_s:
                failures.append(f"a call took {latencies[-1]:.3f} s")
            if fresh_channels:
                await channel.close()
                channel = None
            await asyncio.sleep(max(0.0, started + options.min_interval_s - time.monotonic()))
    finally:
        if channel is not None:
            await channel.close()
    if len(latencies) < options.iterations:
        raise CaseFailed(f"{len(latencies)} of {options.iterations} calls within {options.overall_timeout_s} s")
    if len(failures) > options.max_failures:
        raise CaseFailed(f"{len(failures)} failures, {options.max_failures} allowed; the first: {failures[0]}")
    return SoakResult(tuple(latencies), tuple(failures))

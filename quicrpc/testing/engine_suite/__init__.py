"""The suite every QUIC engine passes: functions of ``(engine, seed)`` that raise AssertionError.

``SUITE`` lists them all. An engine is given as a function from a link and options to an endpoint; run each check with a few seeds.
"""

from __future__ import annotations

from quicrpc.testing.engine_suite import early_data, faults, flow_control, identity, lifecycle, streams
from quicrpc.testing.engine_suite.world import Check, EngineFactory, World

__all__ = ["SUITE", "Check", "EngineFactory", "World"]

SUITE: tuple[Check, ...] = (
    *lifecycle.CHECKS,
    *streams.CHECKS,
    *flow_control.CHECKS,
    *early_data.CHECKS,
    *identity.CHECKS,
    *faults.CHECKS,
)

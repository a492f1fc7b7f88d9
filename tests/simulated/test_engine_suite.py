"""The aioquic engine passes the suite of engines."""

from __future__ import annotations

import pytest

from quicrpc.quic.aioquic import AioquicEndpoint
from quicrpc.testing.engine_suite import SUITE, Check


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("check", SUITE, ids=lambda check: check.__name__)
def test_aioquic_engine(check: Check, seed: int) -> None:
    check(AioquicEndpoint, seed)

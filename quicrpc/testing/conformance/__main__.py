"""``python -m quicrpc.testing.conformance server|client``: see the package's text."""

from __future__ import annotations

import asyncio
import sys

from quicrpc.testing.conformance.client import make_calls
from quicrpc.testing.conformance.server import serve

_ROLES = {"server": serve, "client": make_calls}


def main() -> None:
    """Play the role that the command line names."""
    if len(sys.argv) != 2 or sys.argv[1] not in _ROLES:
        sys.exit("usage: python -m quicrpc.testing.conformance server|client")
    asyncio.run(_ROLES[sys.argv[1]]())


if __name__ == "__main__":
    main()

"""What tests of quicrpc, and of programs on it, are made with.

Owns:       a simulated network on a virtual clock, the suite every engine must pass, certificates.
May import: everything below ``cli``, ``gateway`` and ``services``.
Never:      sockets, real time, or anything imported by the running system.
Tested by:  ``tests/unit/testing``, ``tests/simulated``.
"""

"""The echo family: ``echo.Echo``, for benchmarks, examples and outside clients.

Owns: its handlers. May import: ``gen``, grpc. Never: ``aio``.
Tested by: ``tests/services/test_echo.py``.
"""

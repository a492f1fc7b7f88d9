"""Benchmarks: ``python -m bench [SCENARIO...]``.

Owns: the scenarios, the peers quicrpc is compared with, the load client in Go, the raw results.
May import: ``quicrpc.testing``, ``quicrpc.gen``, ``quicrpc.services``, other people's servers. Never: be imported by ``quicrpc``.
Tested by: ``tests/conformance/test_outside_clients.py`` runs the load client.
"""

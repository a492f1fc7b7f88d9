"""gRPC's interoperability tests: ``python -m quicrpc.interop server|client``.

Owns:       the service ``grpc.testing.TestService`` and the cases that call it, with the names and flags other implementations use.
May import: ``aio``, ``gen.testing``.
Never:      assertions about quicrpc's own insides: what a case checks, any implementation must do.
Tested by:  ``tests/conformance/test_interop.py``.
Source:     gRPC doc/interop-test-descriptions.md.
"""

"""The program that the Connect conformance runner starts: ``python -m quicrpc.testing.conformance server|client``.

Owns:       the runner's protocol on standard input and output, the service its cases call, the client that makes its calls.
May import: ``aio``, and the suite's messages (``connectrpc.conformance.v1``), which whoever starts the program puts on PYTHONPATH.
Never:      tests of our own.
Tested by:  ``tests/conformance/test_connect_suite.py``.
"""

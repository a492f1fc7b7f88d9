"""The ``quicrpc`` command.

Owns: one file for each sub-command, and what they share: connecting, schemas, failing in one sentence.
May import: everything. Never: imported by anything but ``quicrpc.__main__``.
Tested by: ``tests/unit/cli``, ``tests/loopback/test_cli.py``.
"""

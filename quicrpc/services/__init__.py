"""The services that quicrpc serves: one package for each family, and what all of them share.

Owns: the registry of families, their servicers, stores and clients, the standard health service.
May import: ``gen``, ``rpc``, grpc; a family's ``client.py`` also ``aio``. Never: sockets, QUIC, another family.
Tested by: ``tests/unit/services``, ``tests/services``.
"""

"""The content family: files over streams (``sky_genesis.StreamingService`` and its health check).

Owns: names of files, the object store, its servicers, its client. May import: ``gen``, ``rpc``, grpc. Never: another family.
Inside: ``domain`` imports nothing of ours, ``catalogue`` and ``store`` see ``domain``, only ``client`` may see ``aio``.
Tested by: ``tests/unit/services/content``, ``tests/services``.
"""

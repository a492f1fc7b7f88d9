"""Methods as the protobuf descriptors describe them."""

from __future__ import annotations

from functools import lru_cache

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

__all__ = ["find_method", "has_no_side_effects", "is_idempotent", "split_path"]


def split_path(path: str) -> tuple[str, str] | None:
    """Split ``/package.Service/Method`` into service and method; None for any other form (gRPC PROTOCOL-HTTP2, Requests, Path)."""
    if not path.startswith("/"):
        return None
    service, slash, method = path[1:].rpartition("/")
    if not slash or not service or not method:
        return None
    return service, method


def find_method(path: str) -> MethodDescriptor | None:
    """Return the descriptor of the method at ``path`` from the default pool; None if its schema is not loaded in this process."""
    names = split_path(path)
    if names is None:
        return None
    pool = descriptor_pool.Default()
    try:
        service = pool.FindServiceByName(names[0])
    except KeyError:
        return None
    found: MethodDescriptor | None = service.methods_by_name.get(names[1])
    return found


@lru_cache(maxsize=4096)
def _idempotency_level(path: str) -> int:
    method = find_method(path)
    if method is None:
        return MethodOptions.IDEMPOTENCY_UNKNOWN
    return method.GetOptions().idempotency_level


def has_no_side_effects(path: str) -> bool:
    """Tell whether the method is marked ``idempotency_level = NO_SIDE_EFFECTS``: the only ones that may run on early data."""
    return _idempotency_level(path) == MethodOptions.NO_SIDE_EFFECTS


def is_idempotent(path: str) -> bool:
    """Tell whether the method is marked NO_SIDE_EFFECTS or IDEMPOTENT: it may be sent more than once."""
    return _idempotency_level(path) != MethodOptions.IDEMPOTENCY_UNKNOWN

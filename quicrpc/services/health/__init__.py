"""The standard ``grpc.health.v1.Health`` service.

Owns: which services are reported as serving. May import: grpcio-health-checking. Never: another family.
Tested by: ``tests/services/test_health.py``.
"""

from quicrpc.services.health.handlers import SERVICE_NAME, HealthService

__all__ = ["SERVICE_NAME", "HealthService"]

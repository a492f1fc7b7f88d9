from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quicrpc.services.health import HealthService

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def health(serve):
    services = []
    channel = await serve(lambda server: services.append(HealthService(server)))
    await services[0].set_serving(["echo.Echo"])
    return services[0], health_pb2_grpc.HealthStub(channel)


@pytest.mark.parametrize("name", ["", "echo.Echo", "grpc.health.v1.Health"])
async def test_known_services_serve_until_the_drain(health, name):
    service, stub = health
    request = health_pb2.HealthCheckRequest(service=name)
    assert (await stub.Check(request)).status == SERVING
    await service.drain()
    assert (await stub.Check(request)).status == NOT_SERVING


async def test_unknown_service_is_not_found(health):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health[1].Check(health_pb2.HealthCheckRequest(service="other.Service"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_watch_tells_of_the_drain(health):
    service, stub = health
    call = stub.Watch(health_pb2.HealthCheckRequest())
    assert (await call.read()).status == SERVING
    await service.drain()
    assert (await call.read()).status == NOT_SERVING
    call.cancel()

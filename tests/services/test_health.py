from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quicrpc.services.health import HealthService

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
KNOWN = ("", "echo.Echo", "grpc.health.v1.Health")


def request(service=""):
    return health_pb2.HealthCheckRequest(service=service)


@pytest.fixture
async def health(serve):
    services = []
    channel = await serve(lambda server: services.append(HealthService(server)))
    await services[0].set_serving(["echo.Echo"])
    return services[0], health_pb2_grpc.HealthStub(channel)


@pytest.mark.parametrize("name", KNOWN)
async def test_known_services_serve_until_the_drain(health, name):
    service, stub = health
    assert (await stub.Check(request(name))).status == SERVING
    await service.enter_graceful_shutdown()
    assert (await stub.Check(request(name))).status == NOT_SERVING


async def test_unknown_service_is_not_found(health):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health[1].Check(request("other.Service"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_nothing_serves_again_after_the_drain(health):
    service, stub = health
    await service.enter_graceful_shutdown()
    await service.enter_graceful_shutdown()
    await service.set("echo.Echo", SERVING)
    assert (await stub.Check(request("echo.Echo"))).status == NOT_SERVING


async def test_list_has_every_service(health):
    service, stub = health
    await service.set("echo.Echo", NOT_SERVING)
    statuses = (await stub.List(health_pb2.HealthListRequest())).statuses
    assert {name: response.status for name, response in statuses.items()} == {
        "": SERVING,
        "echo.Echo": NOT_SERVING,
        "grpc.health.v1.Health": SERVING,
    }


async def test_a_list_that_would_be_too_long_is_refused(health):
    service, stub = health
    await service.set_serving(f"service{number}" for number in range(100))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.List(health_pb2.HealthListRequest())
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_watch_tells_of_the_drain(health):
    service, stub = health
    call = stub.Watch(request())
    assert (await call.read()).status == SERVING
    await service.enter_graceful_shutdown()
    assert (await call.read()).status == NOT_SERVING
    call.cancel()


async def test_watch_of_an_unknown_service_tells_when_it_is_known(health):
    service, stub = health
    call = stub.Watch(request("late.Service"))
    assert (await call.read()).status == SERVICE_UNKNOWN
    await service.set_serving(["other.Service", "late.Service"])
    assert (await call.read()).status == SERVING
    call.cancel()


async def test_a_watcher_that_does_not_read_holds_nobody_up():
    service = HealthService(grpc.aio.server())
    stuck = service.Watch(request(), None)
    quick = service.Watch(request(), None)
    await anext(stuck)  # and never again, as when the watcher's window is full
    await anext(quick)
    for status in (NOT_SERVING, SERVING):
        await service.set("", status)
    await service.enter_graceful_shutdown()
    assert (await asyncio.wait_for(anext(quick), 5)).status == NOT_SERVING
    assert (await anext(stuck)).status == NOT_SERVING
    await stuck.aclose()
    await quick.aclose()

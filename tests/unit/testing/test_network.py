from __future__ import annotations

import pytest

from quicrpc.testing.network import SimulatedLink, SimulatedNetwork


def pair(network: SimulatedNetwork) -> tuple[SimulatedLink, SimulatedLink]:
    return network.link("10.0.0.1", 1), network.link("10.0.0.2", 2)


def numbers(link: SimulatedLink) -> list[int]:
    return [int.from_bytes(data, "big") for data, _ in link.receive()]


def send(source: SimulatedLink, target: SimulatedLink, count: int) -> None:
    source.send([(number.to_bytes(4, "big"), target.local_address()) for number in range(count)])


def test_datagrams_take_their_time_and_keep_their_order() -> None:
    network = SimulatedNetwork(delay_s=0.05)
    one, two = pair(network)
    send(one, two, 3)
    network.run_for(0.049)
    assert numbers(two) == []
    network.run_for(0.002)
    assert numbers(two) == [0, 1, 2]


def test_the_same_seed_means_the_same_network() -> None:
    arrived = []
    for _ in range(2):
        network = SimulatedNetwork(5, loss=0.3, duplicate=0.2, reorder=0.2, jitter_s=0.01)
        one, two = pair(network)
        send(one, two, 200)
        network.run_for(1)
        arrived.append(numbers(two))
    assert arrived[0] == arrived[1]
    assert arrived[0] != sorted(arrived[0])
    assert len(set(arrived[0])) < 170
    assert len(arrived[0]) > len(set(arrived[0]))


def test_large_datagrams_do_not_pass() -> None:
    network = SimulatedNetwork(mtu=1200)
    one, two = pair(network)
    one.send([(bytes(1200), two.local_address()), (bytes(1201), two.local_address())])
    network.run_for(1)
    assert [len(data) for data, _ in two.receive()] == [1200]


def test_the_tap_may_change_everything() -> None:
    network = SimulatedNetwork()
    one, two = pair(network)
    network.tap = lambda data, source, destination: [data, b"more"]
    one.send([(b"data", two.local_address())])
    network.run_for(1)
    assert [data for data, _ in two.receive()] == [b"data", b"more"]


def test_closed_links_get_nothing() -> None:
    network = SimulatedNetwork()
    one, two = pair(network)
    send(one, two, 1)
    two.close()
    network.run_for(1)
    assert two.inbox == []
    two.send([(b"late", one.local_address())])
    network.run_for(1)
    assert one.receive() == []


def test_addresses_are_unique() -> None:
    network = SimulatedNetwork()
    pair(network)
    with pytest.raises(OSError, match="in use"):
        network.link("10.0.0.1", 1)
    assert len({network.link().local_address() for _ in range(5)}) == 5


def test_waiting_for_what_cannot_happen_fails() -> None:
    with pytest.raises(AssertionError, match="nothing more can happen"):
        SimulatedNetwork().run_until(lambda: False)

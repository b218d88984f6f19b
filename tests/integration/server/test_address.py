"""Holding an address alone."""

import socket
from pathlib import Path

import pytest

from mtdd_router.errors import ConfigurationError
from mtdd_router.server import address
from mtdd_router.server.address import AddressInUse, reserve
from mtdd_router.wire.address import Address


def test_port_zero_becomes_a_real_port() -> None:
    reservation = reserve(Address.parse("127.0.0.1:0"))
    (address,) = reservation.addresses
    assert address.port > 0
    reservation.close()


def test_a_reserved_port_cannot_be_reserved_again() -> None:
    reservation = reserve(Address.parse("127.0.0.1:0"))
    with pytest.raises(AddressInUse, match="Address already in use"):
        reserve(reservation.addresses[0])
    reservation.close()
    reserve(reservation.addresses[0]).close()


def test_a_port_where_another_server_shares_with_so_reuseport_is_in_use() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(AddressInUse):
            reserve(Address("127.0.0.1", other.getsockname()[1]))


def test_workers_can_listen_on_a_reserved_port() -> None:
    reservation = reserve(Address.parse("127.0.0.1:0"))
    with socket.socket() as one, socket.socket() as two:
        for worker in (one, two):
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(("127.0.0.1", reservation.addresses[0].port))
            worker.listen()
    reservation.close()


def test_a_port_is_held_only_where_that_takes_no_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(address, "_HOLDING_IS_HARMLESS", False)
    reservation = reserve(Address.parse("127.0.0.1:0"))
    assert reservation.sockets == ()
    with socket.socket() as worker:
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind(("127.0.0.1", reservation.addresses[0].port))
        worker.listen()
        with pytest.raises(AddressInUse):
            reserve(reservation.addresses[0])


def test_localhost_becomes_its_addresses_on_one_port() -> None:
    reservation = reserve(Address.parse("localhost:0"))
    assert len({address.port for address in reservation.addresses}) == 1
    assert "127.0.0.1" in {address.host for address in reservation.addresses}
    reservation.close()


def test_a_host_that_is_not_of_this_machine_is_refused() -> None:
    with pytest.raises(AddressInUse, match="Cannot assign requested address"):
        reserve(Address("192.0.2.1", 7401))


def test_an_unknown_host_name_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigurationError, match="cannot be resolved"):
        reserve(Address("nowhere.invalid", 7401))


def test_a_socket_file_left_by_a_killed_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    reserve(Address(path=str(path))).close()
    assert not path.exists()


def test_a_socket_file_of_a_living_server_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        with pytest.raises(AddressInUse, match="another server listens there"):
            reserve(Address(path=str(path)))
    assert path.exists()


def test_another_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ConfigurationError, match="not a socket"):
        reserve(Address(path=str(path)))
    assert path.read_text() == "data"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"the folder .* does not exist"):
        reserve(Address(path=str(tmp_path / "absent" / "s")))

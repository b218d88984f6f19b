"""Registering, changing and removing shards, and what is refused."""

import contextlib
import http.server
import socket
import threading

import grpc
import pytest
from django.db import connections
from grpc_health.v1 import health, health_pb2_grpc

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.embedded.ports import choose_port
from mtdd_router.errors import ShardUnavailable
from mtdd_router.types import Isolation, Placement, TenantState
from tenants import services
from tenants.errors import (
    InvalidShard,
    InvalidShardAddress,
    NotAShardServer,
    ShardAlreadyRegistered,
    ShardIdentityChanged,
    ShardInUse,
    ShardNotRegistered,
)
from tenants.models import Shard, Tenant
from tests.integration.tenants.conftest import kill

STRANGER = Placement(
    "stranger", Isolation.SCHEMA, "t_stranger", "t_stranger", 1, TenantState.ACTIVE
)


def test_a_registered_shard_keeps_the_identity_of_its_database(spare_shard):
    admin = ShardAdmin(spare_shard.address)
    assert spare_shard.shard_id == admin.info().shard_id


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["nonsense", "host", ":1", "host:0", "host:99999", "unix:x"])
def test_a_malformed_address_is_refused_before_anything_is_asked(address):
    with pytest.raises(InvalidShardAddress, match=r"address|port"):
        services.register_shard("one", address)
    assert not Shard.objects.exists()


@pytest.mark.django_db
def test_an_address_where_nothing_answers_is_named():
    address = f"127.0.0.1:{choose_port()}"
    with pytest.raises(ShardUnavailable, match=rf"Nothing answers at {address}.*'one'.*run_shard"):
        services.register_shard("one", address)
    assert not Shard.objects.exists()


@contextlib.contextmanager
def _http():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def _mute():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def _other_grpc():
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@pytest.mark.django_db
@pytest.mark.parametrize("service", [_http, _mute, _other_grpc])
def test_another_service_at_the_address_is_told_from_a_shard_server(service, monkeypatch):
    monkeypatch.setattr("tenants.services.identity._IDENTIFY_TIMEOUT", 1.5)
    with (
        service() as port,
        pytest.raises(NotAShardServer, match=rf"127.0.0.1:{port}.*not .*shard server"),
    ):
        services.register_shard("one", f"127.0.0.1:{port}")
    assert not Shard.objects.exists()


def test_a_shard_is_registered_only_once_whatever_name_or_address_is_given(
    spare_shard, spare_server
):
    with pytest.raises(ShardAlreadyRegistered, match=r"'spare' is already registered"):
        services.register_shard("spare", "127.0.0.1:1")
    with pytest.raises(ShardAlreadyRegistered, match=r"already registered, as shard 'spare'"):
        services.register_shard("other", spare_shard.address)
    localhost = f"localhost:{spare_server.port}"
    with pytest.raises(ShardAlreadyRegistered, match=rf"{localhost} is already .* shard 'spare'"):
        services.register_shard("other", localhost)
    assert Shard.objects.get() == spare_shard


def test_a_shard_of_a_wrong_name_or_weight_is_refused(transactional_db, spare_server):
    for name, weight in [("", 1), ("a b", 1), ("x" * 64, 1), ("a", 0)]:
        with pytest.raises(InvalidShard):
            services.register_shard(name, spare_server.address, weight=weight)
    assert not Shard.objects.exists()


@pytest.mark.parametrize("names", [("one", "one"), ("one", "two")])
def test_of_two_who_register_a_shard_at_once_exactly_one_wins(
    transactional_db, spare_server, names
):
    barrier = threading.Barrier(2)
    outcomes = []

    def register(name):
        try:
            barrier.wait()
            outcomes.append(services.register_shard(name, spare_server.address))
        except ShardAlreadyRegistered as exc:
            outcomes.append(exc)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=register, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        "Shard",
        "ShardAlreadyRegistered",
    ]
    assert Shard.objects.count() == 1


def test_a_shard_whose_postgres_is_down_is_refused_saying_so(transactional_db, make_stack):
    stack = make_stack(shards=1)
    address = stack.shard_servers[0].address
    for postgres in stack.postgres:
        if postgres.name == "shard1":
            postgres.stop()
    with pytest.raises(ShardUnavailable, match=r"PostgreSQL"):
        services.register_shard("one", address)
    assert not Shard.objects.exists()


def test_a_shard_is_edited_in_one_go_or_not_at_all(registered_shards):
    services.edit_shard("shard1", new_name="one", weight=5, accepts_tenants=False)
    shard = Shard.objects.get(name="one")
    assert (shard.weight, shard.accepts_tenants) == (5, False)
    with pytest.raises(ShardAlreadyRegistered, match=r"'shard2'"):
        services.edit_shard("one", new_name="shard2", weight=7)
    with pytest.raises(ShardNotRegistered, match=r"'shard1'"):
        services.edit_shard("shard1", weight=7)
    shard.refresh_from_db()
    assert shard.weight == 5


def test_an_address_at_which_another_shard_answers_is_refused(registered_shards, spare_server):
    with pytest.raises(ShardIdentityChanged, match=r"instead of shard 'shard1'"):
        services.edit_shard("shard1", address=spare_server.address)
    assert services.get_shard("shard1").address != spare_server.address


def test_shards_that_swapped_their_addresses_are_moved_together(registered_shards):
    one, two = registered_shards
    # As if they had been registered before a restart that gave each the other's port.
    Shard.objects.filter(pk=one.pk).update(address="127.0.0.1:1")
    Shard.objects.filter(pk=two.pk).update(address=one.address)
    Shard.objects.filter(pk=one.pk).update(address=two.address)
    moved = services.move_addresses({one.name: one.address, two.name: two.address})
    assert {shard.name: shard.address for shard in moved} == {
        one.name: one.address,
        two.name: two.address,
    }


def test_a_shard_with_tenants_is_not_removed(spare_shard):
    services.create_tenant("abc")
    with pytest.raises(ShardInUse, match=r"1 tenant lives on shard 'spare' \(abc\)"):
        services.remove_shard("spare", force=True)
    services.purge_tenant("abc")
    services.remove_shard("spare")
    assert not Shard.objects.exists()


def test_a_shard_that_holds_what_the_registry_does_not_know_is_removed_only_by_force(spare_shard):
    admin = ShardAdmin(spare_shard.address)
    admin.create_namespace(STRANGER)
    with pytest.raises(ShardInUse, match=r"still holds stranger.*--force"):
        services.remove_shard("spare")
    services.remove_shard("spare", force=True)
    assert not Shard.objects.exists()


def test_a_shard_that_is_gone_is_removed_only_by_force(spare_shard, spare_server):
    kill(spare_server)
    with pytest.raises(ShardUnavailable, match=r"'spare'.*--force"):
        services.remove_shard("spare")
    services.remove_shard("spare", force=True)
    assert not Shard.objects.exists()


def test_a_tenant_cannot_slip_onto_a_shard_that_is_being_removed(spare_shard):
    outcomes = []
    barrier = threading.Barrier(2)

    def attempt(action):
        try:
            barrier.wait()
            action()
            outcomes.append("done")
        except (ShardInUse, ShardNotRegistered) as exc:
            outcomes.append(type(exc).__name__)
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=attempt, args=(action,))
        for action in (
            lambda: services.create_tenant("abc", shard="spare"),
            lambda: services.remove_shard("spare", force=True),
        )
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("done") == 1
    assert Shard.objects.count() == Tenant.objects.count()


def test_an_unreachable_shard_is_inspected_without_an_error(spare_shard, spare_server):
    (status,) = services.inspect_shards([spare_shard])
    assert status.healthy
    assert status.info.tenants == 0
    kill(spare_server)
    (status,) = services.inspect_shards([spare_shard], timeout=0.5)
    assert not status.healthy
    assert "spare" in status.error

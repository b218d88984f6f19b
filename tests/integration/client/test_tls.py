"""Encrypted calls: who is trusted, who is not, and what is said about it."""

import pytest

from mtdd_router.client.call import Call, CallFailed, call_once
from mtdd_router.client.endpoint import TLS
from mtdd_router.errors import ConfigurationError
from mtdd_router.wire.status import StatusCode
from tests.integration.client.conftest import TALK, Identity, Peer, StartPeer


@pytest.fixture
def peer(start_peer: StartPeer, identities: dict[str, Identity]) -> Peer:
    """A server with TLS."""
    mine = identities["server"]
    return start_peer(certificate=mine.certificate, key=mine.key)


@pytest.fixture
def strict_peer(start_peer: StartPeer, identities: dict[str, Identity]) -> Peer:
    """A server that demands the client's certificate."""
    mine, client = identities["server"], identities["client"]
    return start_peer(certificate=mine.certificate, key=mine.key, authority=client.certificate)


def add(peer: Peer, tls: TLS | None) -> bytes:
    return call_once(peer.endpoint(tls=tls), "/test.Peer/Add", b"1+2", limit=5.0)


def test_a_call_is_encrypted_and_the_server_known(peer, identities):
    tls = TLS(identities["server"].certificate)
    assert add(peer, tls) == b"3"
    with peer.talk(tls=tls) as call:
        for size in (1, 100_000, 20_000_000):
            call.send(bytes(size))
            assert call.receive() == bytes(size)
        # Session tickets may arrive, which are no data.
        assert call.alive
        call.send(b"x")
        assert call.receive() == b"x"


def test_writing_and_reading_at_once_works_encrypted_too(peer, identities):
    with peer.talk(tls=TLS(identities["server"].certificate)) as call:
        call.send(b"many:32")
        call.send(bytes(32 << 20))
        for _ in range(32):
            assert len(call.receive()) == 1 << 20
        assert len(call.receive()) == 32 << 20


def test_a_server_of_another_authority_is_not_trusted(peer, identities):
    for tls in (TLS(identities["stranger"].certificate), TLS()):
        with pytest.raises(CallFailed, match="certificate verify failed") as caught:
            add(peer, tls)
        assert caught.value.status.code is StatusCode.UNAVAILABLE
        assert not caught.value.transient


def test_a_server_of_another_name_is_not_trusted(start_peer, identities):
    mine = identities["stranger"]
    peer = start_peer(certificate=mine.certificate, key=mine.key)
    with pytest.raises(CallFailed, match="not valid for"):
        add(peer, TLS(mine.certificate))


def test_a_client_shows_its_certificate(strict_peer, identities):
    mine = identities["client"]
    tls = TLS(identities["server"].certificate, mine.certificate, mine.key)
    assert add(strict_peer, tls) == b"3"


def test_a_client_without_a_certificate_or_with_a_wrong_one_is_refused(strict_peer, identities):
    trusted, stranger = identities["server"].certificate, identities["stranger"]
    for tls in (TLS(trusted), TLS(trusted, stranger.certificate, stranger.key)):
        with pytest.raises(CallFailed) as caught:
            add(strict_peer, tls)
        assert caught.value.status.code is StatusCode.UNAVAILABLE


def test_one_side_with_tls_and_the_other_without_is_told(peer, start_peer, identities):
    with pytest.raises(CallFailed, match="closed the connection|HTTP/2"):
        add(peer, None)
    with pytest.raises(CallFailed) as caught:
        add(start_peer(), TLS(identities["server"].certificate))
    assert not caught.value.transient


def test_files_that_cannot_be_used_are_named(peer, identities, tmp_path):
    mine = identities["client"]
    for tls in (TLS("/nowhere.pem"), TLS(mine.certificate, mine.certificate, "/nowhere.key")):
        with pytest.raises(ConfigurationError, match="nowhere"):
            Call(peer.endpoint(tls=tls), TALK, limit=5.0)

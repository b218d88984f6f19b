"""Targets that were resolved before: what they may be taken for again, and what not."""

from dataclasses import replace
from typing import cast

import pytest

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.server.auth import Grant, Permission
from mtdd_router.server.callers import TenantSet
from mtdd_router.server.placements import PlacementTable
from mtdd_router.server.profile import Profile
from mtdd_router.server.targets import Resolved, Targets
from mtdd_router.types import Isolation, Placement, TenantState

ABC = Placement("abc", Isolation.SCHEMA, "t_abc", "t_abc", 3, TenantState.ACTIVE)


class Placements:
    """What the shard's table says, in memory."""

    def __init__(self) -> None:
        self.known = {"abc": ABC}

    def get(self, tenant: str) -> Placement | None:
        return self.known.get(tenant)


@pytest.fixture
def placements() -> Placements:
    return Placements()


@pytest.fixture
def targets(placements: Placements) -> Targets:
    return Targets(cast(PlacementTable, placements), "shard", "extensions")


def context(tenant: str = "abc", epoch: int = 3, **settings: str) -> pb.Context:
    made = pb.Context()
    made.target.tenant.name, made.target.tenant.epoch = tenant, epoch
    for name, value in settings.items():
        made.settings.add(name=name, value=value)
    return made


def known(targets: Targets, grant: Grant, asked: pb.Context | None = None) -> Resolved | None:
    return targets.known(asked or context(), grant)


def test_the_same_is_known_again(targets: Targets) -> None:
    first = known(targets, Grant("one"))
    assert first is not None
    assert first.tenant == "abc"
    assert first.profile.role == "t_abc"
    assert known(targets, Grant("one")) is first


@pytest.mark.parametrize(
    "other",
    [
        Grant("one", permissions=frozenset()),
        Grant("one", permissions=frozenset((Permission.ADMIN,))),
        Grant("one", tenants=TenantSet(["b*"])),
        Grant("one", within=TenantSet(["b*"])),
    ],
    ids=["nothing", "administration", "other tenants", "a token for other tenants"],
)
def test_what_one_caller_may_use_another_may_not(targets: Targets, other: Grant) -> None:
    assert known(targets, other) is None
    assert known(targets, Grant("one")) is not None
    assert known(targets, other) is None


def test_who_only_reads_is_not_taken_for_who_writes(targets: Targets) -> None:
    writes = known(targets, Grant("one"))
    reads = known(targets, Grant("one", read_only=True))
    assert writes is not None
    assert reads is not None
    assert (writes.read_only, reads.read_only) == (False, True)
    assert writes.profile is not reads.profile


def test_settings_make_another_target(targets: Targets) -> None:
    first = known(targets, Grant("one"), context(TimeZone="UTC"))
    second = known(targets, Grant("one"), context(TimeZone="Asia/Tokyo"))
    assert first is not None
    assert second is not None
    assert first.profile.settings == (("TimeZone", "UTC"),)
    assert second.profile.settings == (("TimeZone", "Asia/Tokyo"),)


@pytest.mark.parametrize(
    "changed",
    [
        None,
        replace(ABC, epoch=4),
        replace(ABC, state=TenantState.FROZEN),
    ],
    ids=["gone", "moved", "frozen"],
)
def test_a_placement_that_changes_is_seen_at_once(
    targets: Targets, placements: Placements, changed: Placement | None
) -> None:
    assert known(targets, Grant("one")) is not None
    if changed is None:
        del placements.known["abc"]
    else:
        placements.known["abc"] = changed
    assert known(targets, Grant("one")) is None


def test_a_tenant_made_again_under_the_same_names_is_another(
    targets: Targets, placements: Placements
) -> None:
    before = known(targets, Grant("one"))
    placements.known["abc"] = replace(ABC)
    after = known(targets, Grant("one"))
    assert before is not None
    assert after is not None
    # So a connection that is set to the former one's role is switched.
    assert after.profile is not before.profile
    assert known(targets, Grant("one")) is after


def test_a_switch_is_composed_for_what_was_declared_before(targets: Targets) -> None:
    resolved = known(targets, Grant("one"), context(TimeZone="UTC"))
    assert resolved is not None
    plain = resolved.profile.switch(frozenset())
    # Role, search path, time zone.
    assert plain.commands == 3
    assert resolved.profile.switch(frozenset()) == plain
    reset, commands, *_ = resolved.profile.switch(frozenset(("DateStyle", "TimeZone")))
    assert commands == 4
    assert reset.startswith(plain.messages)
    assert b"DateStyle" in reset
    for number in range(20):
        resolved.profile.switch(frozenset((f"name_{number}",)))
    assert resolved.profile.switch(frozenset()) == plain


def test_a_time_zone_that_the_connection_has_is_not_set_again(targets: Targets) -> None:
    in_utc = known(targets, Grant("one"), context(TimeZone="UTC"))
    anywhere = known(targets, Grant("one"), context())
    assert in_utc is not None
    assert anywhere is not None
    there, commands, *_ = in_utc.profile.switch(frozenset(("TimeZone",)), "UTC")
    assert (commands, b"TimeZone" in there) == (2, False)
    elsewhere, commands, *_ = in_utc.profile.switch(frozenset(("TimeZone",)), "Asia/Tokyo")
    assert (commands, b"TimeZone" in elsewhere) == (3, True)
    # What the database's own is, is not known.
    default, commands, *_ = anywhere.profile.switch(frozenset(), "UTC")
    assert (commands, b"TimeZone" in default) == (3, True)


def test_names_are_quoted_in_a_switch() -> None:
    switch = Profile("db", 'a"b', '"a", "extensions"').switch(frozenset(), "UTC")
    assert b'SET ROLE "a""b"\0' in switch.messages
    assert b'SET search_path = "a", "extensions"\0' in switch.messages
    switch = Profile("db", "", "").switch(frozenset())
    assert b"SET ROLE NONE\0" in switch.messages
    assert b"RESET search_path\0" in switch.messages


def test_what_callers_choose_is_never_made_sql_of() -> None:
    path = '"a", "extensions"'
    given = Profile("db", "a", path, (("TimeZone", "UTC"),))
    assert given.switch(frozenset(), "UTC").text == (
        b'SET ROLE "a"; SET search_path = "a", "extensions"; '
    )
    for switch in (
        given.switch(frozenset(), "Asia/Tokyo"),
        given.switch(frozenset(("DateStyle",)), "UTC"),
        Profile("db", "a", path).switch(frozenset(), "UTC"),
    ):
        assert switch.commands == 3
        assert switch.text == b""

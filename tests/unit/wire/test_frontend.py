"""libpq's bytes become typed requests, and typed requests the same bytes again."""

import pytest

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.wire import frontend
from mtdd_router.wire.begin import is_begin
from mtdd_router.wire.framing import compose, messages, whole_messages


def batch_of(data: bytes) -> pb.Batch:
    return pb.Batch(messages=[frontend.batch_message(kind, body) for kind, body in messages(data)])


EXTENDED = b"".join(
    (
        frontend.parse(b"name", b"SELECT $1, $2", [23, 0]),
        frontend.bind(b"name", [b"1", None], portal=b"p", formats=[0, 1], result_formats=[1]),
        frontend.describe(b"p"),
        frontend.describe(b"name", portal=False),
        frontend.execute(b"p", 10),
        compose(b"C", b"Sname\0"),
        frontend.FLUSH,
        frontend.SYNC,
    )
)


def test_every_extended_message_survives_the_way_there_and_back():
    assert frontend.batch_bytes(batch_of(EXTENDED)) == EXTENDED


@pytest.mark.parametrize("kind", [b"X", b"F", b"p", b"Q", b"\0"])
def test_a_message_that_has_no_place_in_a_batch_is_refused(kind):
    with pytest.raises(ValueError, match="has no place"):
        frontend.batch_message(kind, b"")


def test_a_statement_with_a_nul_is_refused_since_what_follows_would_be_lost():
    with pytest.raises(ValueError, match="NUL"):
        frontend.simple_query(b"SELECT 1\0; DROP TABLE x")
    batch = pb.Batch()
    batch.messages.add(parse=pb.Parse(statement=b"SELECT 1\0"))
    with pytest.raises(ValueError, match="NUL"):
        frontend.batch_bytes(batch)


def test_a_number_out_of_range_is_refused():
    batch = pb.Batch()
    batch.messages.add(bind=pb.Bind(parameter_formats=[1 << 20]))
    with pytest.raises(ValueError, match="out of range"):
        frontend.batch_bytes(batch)


def test_a_null_parameter_is_not_an_empty_one():
    batch = pb.Batch()
    batch.messages.add(bind=pb.Bind(parameters=[pb.Parameter(), pb.Parameter(value=b"")]))
    again = batch_of(frontend.batch_bytes(batch))
    null, empty = again.messages[0].bind.parameters
    assert not null.HasField("value")
    assert empty.HasField("value")


def test_copy_data_becomes_one_message_and_its_end_another():
    assert frontend.copy_bytes(pb.CopyIn(data=b"1\n", done=True)) == (
        compose(b"d", b"1\n") + compose(b"c")
    )
    assert frontend.copy_bytes(pb.CopyIn(failure="no")) == compose(b"f", b"no\0")


def test_a_message_that_is_not_whole_yet_is_left_for_later():
    data = compose(b"d", b"abc") + compose(b"d", b"def")
    assert whole_messages(data[:-1]) == len(compose(b"d", b"abc"))
    assert [body for _, body in messages(data[:-1])] == [b"abc"]


@pytest.mark.parametrize(
    "statement",
    [
        b"BEGIN",
        b"BEGIN ISOLATION LEVEL SERIALIZABLE",
        b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY NOT DEFERRABLE",
        b"BEGIN READ WRITE",
    ],
)
def test_what_psycopg_writes_to_begin_is_recognised(statement):
    assert is_begin(statement)


@pytest.mark.parametrize(
    "statement",
    [
        b"BEGIN; SET ROLE postgres",
        b"BEGIN ISOLATION LEVEL",
        b"RESET ROLE",
        b"BEGIN\n",
        b"BEGIN\0",
        b"begin",
        b"",
    ],
)
def test_nothing_else_is_taken_for_a_begin(statement):
    assert not is_begin(statement)

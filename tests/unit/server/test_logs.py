"""What log lines show, and what they never do."""

import json
import logging
from collections.abc import Iterator

import psycopg
import pytest

from mtdd_router.server.logs import configure_logging, get_logger, log_session_statement


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_json_lines_name_event_tenant_session_and_duration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("json", "debug")
    log_session_statement(
        tenant="abc", session="0123456789abcdef", duration_ms=1.23456, command="SELECT 1"
    )
    (line,) = lines(capsys)
    assert line["event"] == "statement"
    assert line["tenant"] == "abc"
    assert line["session"] == "01234567"
    assert line["duration_ms"] == 1.235
    assert "timestamp" in line


def test_statements_values_and_secrets_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "info")
    get_logger("test").info(
        "event", statement="SELECT secret", parameters=["secret"], dsn="secret", token="secret"
    )
    text = capsys.readouterr().err
    assert "secret" not in text
    assert json.loads(text)["event"] == "event"


def test_an_error_of_postgresql_is_logged_without_its_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("json", "info")
    try:
        raise psycopg.errors.UniqueViolation("Key (email)=(secret) already exists")
    except psycopg.Error:
        get_logger("test").exception("failed")
        logging.getLogger("other").exception("failed")
    for line in lines(capsys):
        assert line["exception"] == "UniqueViolation (SQLSTATE 23505)"
        assert "secret" not in str(line)
        assert "test_logs.py" in str(line["frames"])


def test_the_standard_librarys_logs_come_out_alike(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "info")
    logging.getLogger("other").warning("number %d", 3)
    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["logger"]) == ("number 3", "warning", "other")


def test_less_severe_events_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "warning")
    get_logger("test").info("event")
    assert lines(capsys) == []


def test_the_console_form_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("console", "info")
    get_logger("test").info("listening", address="127.0.0.1:1")
    text = capsys.readouterr().err
    assert "listening" in text
    assert "address=127.0.0.1:1" in text

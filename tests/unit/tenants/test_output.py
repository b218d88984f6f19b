"""What commands print."""

import io
import json
import re

from tenants.management.output import Output, counted, facts, styled, table


class Stream(io.StringIO):
    """A file, or a terminal."""

    def __init__(self, *, terminal=False):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


def _printed(**options):
    stream = Stream()
    output = Output(stream, **options)
    return stream, output


def test_people_see_text_and_programs_one_json_document():
    for as_json in (False, True):
        stream, output = _printed(as_json=as_json)
        output.text("a table")
        output.data({"a": 1})
        output.error(ValueError("too late"))
        got = stream.getvalue()
        if as_json:
            assert json.loads(got) == {"a": 1}
        else:
            assert got.strip() == "a table"


def test_a_line_is_the_same_in_a_file_as_on_a_terminal_without_its_styles():
    line = styled("migrated").append(r" [abc] (one): \[x] 1 migration in 0.50 s" + " more" * 50)
    stream, output = _printed(color=False)
    output.text(line, line)
    terminal = Stream(terminal=True)
    Output(terminal, color=False).text(line, line)
    assert stream.getvalue() == f"{line.plain} {line.plain}"
    assert terminal.getvalue().split() == stream.getvalue().split()


def test_an_error_is_json_if_nothing_was_printed():
    stream, output = _printed(as_json=True)
    output.error(LookupError("no such thing"))
    assert json.loads(stream.getvalue()) == {
        "error": {"type": "LookupError", "message": "no such thing"}
    }


def test_a_long_row_is_not_cut_where_there_is_no_terminal():
    stream, output = _printed()
    output.text(table(("name", "address"), [["x" * 63, "y" * 180]]))
    assert "x" * 63 in stream.getvalue()
    assert "y" * 100 in stream.getvalue()


def test_there_are_colors_on_a_terminal_only_and_only_if_wanted(monkeypatch):
    # Whatever these tests themselves run in.
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for terminal, color, expected in (
        (True, True, True),
        (True, False, False),
        (False, True, False),
    ):
        stream = Stream(terminal=terminal)
        Output(stream, color=color).text(facts({"state": styled("active")}))
        assert ("\x1b[32m" in stream.getvalue()) is expected
        assert "active" in stream.getvalue()


def test_brackets_in_values_are_shown_as_they_are():
    stream, output = _printed()
    output.text(facts({"address": "[::1]:7401"}))
    assert "[::1]:7401" in stream.getvalue()


def test_a_narrow_terminal_is_shown_fewer_columns_before_any_is_folded(monkeypatch):
    columns = ("name", "address", "size#", "version")
    rows = [["eu-1", "shard-1.example.com:7401", "8.0 MB", "0.1.0 on 18.6"]]
    for width, shown in ((80, columns), (45, ("name", "address", "size#")), (35, columns[:2])):
        monkeypatch.setenv("COLUMNS", str(width))
        stream = Stream(terminal=True)
        Output(stream, color=False).text(table(columns, rows, optional=("version", "size#")))
        heading, line = stream.getvalue().splitlines()
        plain = re.sub(r"\x1b\[[0-9;]*m", "", heading)
        assert plain.split() == [column.rstrip("#") for column in shown]
        assert "shard-1.example.com:7401" in line
    assert len(line) <= 35


def test_one_thing_is_not_told_in_the_plural():
    assert [counted(number, "tenant") for number in (0, 1, 2, 1000)] == [
        "0 tenants", "1 tenant", "2 tenants", "1,000 tenants",
    ]  # fmt: skip

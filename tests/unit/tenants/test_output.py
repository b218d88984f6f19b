"""What commands print."""

import io
import json

from tenants.management.output import Output, facts, styled, table


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


def test_there_are_colors_on_a_terminal_only_and_only_if_wanted():
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

"""What of a statement is not in its string constants, found without parsing it.

Invariant: what PostgreSQL would read as anything but the inside of a string constant is
there, or the answer is that it cannot be told. That holds as long as PostgreSQL reads
statements as UTF-8 and backslashes as the standard says, which the server sees to.

Source: PostgreSQL manual, "Lexical Structure".
"""

import re
from typing import Final

__all__ = ["without_constants"]

_DOLLAR: Final = re.compile(r"\$(?![0-9])")
# Where a constant begins after these, a backslash escapes; or the name is longer than the E.
_ESCAPES: Final = re.compile(r"(?<![A-Za-z0-9_$\x80-\U0010ffff])[eE]\Z")
_SPACE: Final = " \t\n\r\f\v"


def without_constants(text: str) -> str | None:
    """Return *text* with each string constant replaced by an empty one, or None if in doubt."""
    parts = text.split("'")
    if len(parts) % 2 == 0:
        return None
    outside = parts[::2]
    escapes = False
    for number, part in enumerate(outside):
        if number and not part.strip(_SPACE):
            # A doubled quote, or a constant that goes on in the next line.
            pass
        elif part.endswith(("e", "E")):
            escapes = _ESCAPES.search(part) is not None
            if part[-2:-1].isdigit():
                return None
        elif part.endswith("&"):
            # Backslashes name characters, up to a quote.
            return None
        else:
            escapes = False
        if part.count('"') % 2:
            # The quote was inside of a name.
            return None
        if escapes and number < len(outside) - 1:
            inside = parts[2 * number + 1]
            if (len(inside) - len(inside.rstrip("\\"))) % 2:
                # It is escaped.
                return None
    found = "''".join(outside)
    # Comments may hold quotes; and what follows a dollar, unless it is a parameter's number.
    if "--" in found or "/*" in found or ("$" in found and _DOLLAR.search(found)):
        return None
    return found

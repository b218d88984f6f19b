"""Small pieces of HTML for the admin: badges, sizes, links."""

from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.safestring import SafeString

__all__ = ["UNKNOWN", "badge", "link", "progress_bar", "size"]

UNKNOWN = "-"


def badge(word: str, kind: str, title: str = "") -> SafeString:
    """Return *word* as a colored badge; *title* shows when pointed at."""
    return format_html('<span class="mtdd-badge mtdd-{}" title="{}">{}</span>', kind, title, word)


def size(size_bytes: int | None) -> str:
    """Return a size for people; a dash if it is not known."""
    return UNKNOWN if size_bytes is None else filesizeformat(size_bytes)


def link(url: str, text: str) -> SafeString:
    """Return a link."""
    return format_html('<a href="{}">{}</a>', url, text)


def progress_bar(done: int, total: int) -> SafeString:
    """Return how much of *total* is *done*, as a bar and in numbers."""
    return format_html(
        '<progress class="mtdd-progress" max="{}" value="{}"></progress> {} / {}',
        total,
        done,
        done,
        total,
    )

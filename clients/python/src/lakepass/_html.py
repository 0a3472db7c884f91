"""Small tables for notebooks. Everything is escaped; secrets never come here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from html import escape


def text(value: object) -> str:
    """A cell's text. Times without their fractions; nothing for `None`."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    return str(value)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, or a word that there is nothing in it."""
    body = "".join("<tr>" + "".join(_cell("td", cell) for cell in row) + "</tr>" for row in rows)
    if not body:
        return "<p>none</p>"
    header = "".join(_cell("th", name) for name in head)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"


def section(title: str, *parts: str) -> str:
    """A title over parts that are HTML already."""
    return f"<div><strong>{escape(title)}</strong>{''.join(parts)}</div>"


def paragraph(line: object) -> str:
    return f"<p>{escape(text(line))}</p>"


def _cell(tag: str, value: object) -> str:
    return f'<{tag} style="text-align:left">{escape(text(value))}</{tag}>'

"""A token shows nowhere, and comes from where it was said to."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from lakepass import ConfigurationError, Lakepass, Token
from lakepass._token import from_environment, from_file

SECRET = "SUPERSECRET234567"


def test_it_shows_nowhere() -> None:
    token = Token(SECRET)
    lake = Lakepass("http://127.0.0.1:1", token)
    shown = [
        repr(token),
        str(token),
        f"{token}",
        f"{token:>40}",
        repr([token]),
        repr(lake),
        str(vars(lake)),
    ]
    assert not any(SECRET in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(token)


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "ü", "a\x00", "x" * 8193])
def test_what_is_no_token_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Token(text)
    assert text == "" or text not in str(caught.value)


def test_tokens_compare() -> None:
    assert Token("a") == Token("a") != Token("b")
    assert Token("a") != "a"
    assert len({Token("a"), Token("a"), Token("b")}) == 2


def test_the_order_of_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("fromfile\n")
    every = {"LAKEPASS_TOKEN": "direct", "LAKEPASS_TOKEN_FILE": str(path), "KBASE_AUTH_TOKEN": "kbase"}
    assert from_environment(every)().expose() == "direct"
    assert from_environment({**every, "LAKEPASS_TOKEN": ""})().expose() == "fromfile"
    assert from_environment({"KBASE_AUTH_TOKEN": "kbase"})().expose() == "kbase"
    with pytest.raises(ConfigurationError, match="LAKEPASS_TOKEN_FILE"):
        from_environment({})


def test_a_file_is_read_at_each_use(tmp_path: Path) -> None:
    path = tmp_path / "token"
    source = from_file(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        source()
    path.write_text("one\n")
    assert source().expose() == "one"
    path.write_text("two")
    assert source().expose() == "two"

"""Facts about what a key looks like, how it is hashed, and what the environment's keys open."""

import json
from dataclasses import asdict
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from core.api_keys import (
    GRANTABLE,
    IMPLIED,
    Grant,
    Limits,
    Scope,
    digest_of,
    grant_from_dict,
    new_id,
    new_secret,
    read_duration,
    read_key,
    static_grants,
    write_key,
)
from core.errors import InputError
from core.settings import KeySettings


def test_a_key_says_its_id_and_holds_256_random_bits() -> None:
    made = [(new_id(), new_secret()) for _ in range(200)]
    assert len({identity for identity, _ in made}) == len({secret for _, secret in made}) == 200
    for identity, secret in made:
        assert len(secret) == 43 and "_" not in identity
        assert read_key(write_key(identity, secret)) == (identity, secret)


@given(st.text())
def test_every_text_that_is_read_as_a_key_is_written_back_the_same(text: str) -> None:
    for candidate in (text, f"llk_{text}"):
        found = read_key(candidate)
        assert found is None or write_key(*found) == candidate


@pytest.mark.parametrize("text", ["", "llk_", "llk__", "llk_a", "llk_a_", "llk__s", "LLK_a_s", "sk-a_s", " llk_a_s"])
def test_what_is_no_key_is_none(text: str) -> None:
    assert read_key(text) is None


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_every_text_has_a_digest_and_equal_texts_alone_share_it(text: str) -> None:
    assert len(digest_of(text)) == 64
    assert digest_of(text) != digest_of(text + "x")


def test_a_grant_goes_through_json_unchanged() -> None:
    full = Grant("a", "d", GRANTABLE, ("reviews",), 5.5, Limits(1, 2, 3), "p", 7.0)
    for grant in (full, Grant("a", "d", (Scope.INFER,))):
        assert grant_from_dict(json.loads(json.dumps(asdict(grant)))) == grant


def test_admin_opens_everything_but_what_gateways_say_to_control() -> None:
    admin = Grant("a", "d", (Scope.ADMIN,))
    assert [scope for scope in Scope if not admin.opens(scope)] == [Scope.INTERNAL]


def test_who_may_read_texts_may_read_numbers_and_who_may_read_numbers_may_scrape() -> None:
    opened = {scope: {each for each in Scope if Grant("a", "d", (scope,)).opens(each)} for scope in Scope}
    assert opened[Scope.OPS_READ] == {Scope.OPS_READ, Scope.OPS_NUMBERS, Scope.METRICS}
    assert opened[Scope.OPS_NUMBERS] == {Scope.OPS_NUMBERS, Scope.METRICS}


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope not in IMPLIED])
def test_any_other_scope_opens_itself_alone(scope: Scope) -> None:
    assert [each for each in Scope if Grant("a", "d", (scope,)).opens(each)] == [scope]


def test_the_environments_keys_open_what_they_always_did() -> None:
    keys = KeySettings(
        app=SecretStr("a"),
        ops=SecretStr("o"),
        internal=SecretStr("i"),
        metrics=SecretStr("m"),
        own=SecretStr("mine"),
    )
    opened = {grant.digest: {scope for scope in Scope if grant.opens(scope)} for grant in static_grants(keys)}
    assert opened == {
        digest_of("a"): {Scope.INFER, Scope.FEEDBACK},
        digest_of("o"): set(Scope) - {Scope.INTERNAL},
        digest_of("i"): {Scope.INTERNAL},
        digest_of("m"): {Scope.METRICS},
    }


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90d", timedelta(days=90)),
        ("12h", timedelta(hours=12)),
        ("30m", timedelta(minutes=30)),
        ("45s", timedelta(seconds=45)),
        ("0", timedelta()),
    ],
)
def test_a_length_of_time_is_read(text: str, length: timedelta) -> None:
    assert read_duration(text) == length


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5h", "1w", "1h ", "9999999d", "١d"])
def test_what_is_no_length_of_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InputError, match="90d"):
        read_duration(text)

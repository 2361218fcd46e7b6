"""Facts about the access check: keys, scopes, models and limits, on a clock of the test's own."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from core.api_keys import GRANTABLE, IMPLIED, Grant, Limits, Scope, digest_of, static_grants
from core.errors import Forbidden, KeyRefused, LimitReached
from core.settings import KeySettings
from serve.gateway import authentication
from serve.gateway.authentication import ANYONE, KeyChecker

START = datetime(2026, 11, 22, tzinfo=UTC)
KEY = "Bearer llk_k1_s3cret"
GRANT = Grant("k1", digest_of("s3cret"), (Scope.INFER,))


class Checker:
    """A KeyChecker with a clock and grants that a test can change."""

    def __init__(self, *grants: Grant, **how: Any) -> None:
        self.now, self.grants = START, grants
        self.ticks = 0.0
        self.key_checker = KeyChecker(keys=lambda: self.grants, clock=lambda: self.now, ticks=lambda: self.ticks, **how)

    def wait(self, seconds: float) -> None:
        """Change the clock, which people may also put back. Ticks only go forward."""
        self.now += timedelta(seconds=seconds)
        self.ticks += max(0.0, seconds)

    def admit(
        self, scope: Scope = Scope.INFER, *, header: str | None = KEY, model: str | None = None
    ) -> authentication.RequestPermit:
        return self.key_checker.admit(header, scope, model)

    def opens(self, scope: Scope = Scope.INFER, **how: Any) -> bool:
        try:
            self.admit(scope, **how).release(0)
        except (KeyRefused, Forbidden):
            return False
        return True


def test_the_right_key_is_let_in_and_named() -> None:
    assert Checker(GRANT).admit().key_id == "k1"


@pytest.mark.parametrize("header", ["bearer llk_k1_s3cret", "BEARER  llk_k1_s3cret ", "Bearer\x20llk_k1_s3cret"])
def test_the_scheme_is_written_as_one_likes(header: str) -> None:
    assert Checker(GRANT).opens(header=header)


WRONG = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "llk_k1_s3cret",
    "Basic llk_k1_s3cret",
    "Bearer llk_k1_s3cre",
    "Bearer llk_k1_",
    "Bearer llk_k2_s3cret",
    "Bearer llk_k1_s3cret_",
    "Bearer s3cret",
    f"Bearer {digest_of('s3cret')}",
    f"Bearer llk_k1_{digest_of('s3cret')}",
    "Bearer llk_anyone_",
    "Bearer llk_environment-app_app",
    "Bearer app\0",
    "Bearer \x00\xff\x80",
    "Bearer 𝖑𝖑𝖐_k1_s3cret",
    "Bearer \udc80",
    "Bearer llk_k1_ſ3cret",
    "Bearer llk_k1_s3cret" + "x" * 100_000,
    "x" * 100_000,
    "Bearer " + "_" * 900,
    "Bearer llk_" * 90,
]


@pytest.mark.parametrize("header", WRONG)
def test_a_wrong_key_is_refused_and_never_repeated(header: str | None) -> None:
    checker = Checker(GRANT, static=static_grants(KeySettings(app=SecretStr("app"))))
    for _ in range(2):
        with pytest.raises(KeyRefused) as caught:
            checker.admit(header=header)
    said = str(caught.value) + str(caught.value.headers)
    assert said == "The API key is missing, wrong or no longer valid. Send Authorization: Bearer with your key." + str(
        {"WWW-Authenticate": "Bearer"}
    )
    assert checker.key_checker._known == {}


@given(st.text())
def test_no_text_but_the_key_opens(text: str) -> None:
    checker = Checker(GRANT)
    for header in (text, f"Bearer {text}", f"Bearer llk_k1_{text}"):
        assert checker.opens(header=header) is (header.partition(" ")[2].strip() == "llk_k1_s3cret")


@pytest.mark.parametrize("scope", GRANTABLE)
def test_a_key_opens_its_scope_and_a_refusal_names_the_one_that_is_missing(scope: Scope) -> None:
    checker = Checker(replace(GRANT, scopes=(scope,)))
    for wanted in Scope:
        if wanted is scope or wanted in IMPLIED.get(scope, ()):
            assert checker.opens(wanted)
        else:
            with pytest.raises(Forbidden, match=wanted):
                checker.admit(wanted)


def test_a_key_for_some_models_is_refused_the_others_by_name_on_admission_and_later() -> None:
    checker = Checker(replace(GRANT, models=("reviews",), limits=Limits(requests_per_minute=1)))
    with pytest.raises(Forbidden, match="'movies'"):
        checker.admit(model="movies")
    passed = checker.admit(model="reviews")  # the refusal above did not cost the one request
    assert passed.allows("reviews") and not passed.allows("movies")
    passed.require_model("reviews")
    with pytest.raises(Forbidden, match="'movies'"):
        passed.require_model("movies")


def test_a_key_without_models_may_ask_all() -> None:
    assert Checker(GRANT).admit(model="anything").allows("anything else")


def test_a_key_ends_at_its_second_even_when_it_was_just_used() -> None:
    checker = Checker(replace(GRANT, expires=START.timestamp() + 60))
    assert checker.opens()
    checker.wait(59.9)
    assert checker.opens()
    checker.wait(0.1)
    assert not checker.opens() and not checker.opens()


def test_after_a_rotation_the_old_secret_lives_for_its_grace_and_the_new_one_on() -> None:
    new = "Bearer llk_k1_new"
    checker = Checker(
        replace(
            GRANT, digest=digest_of("new"), previous_digest=digest_of("s3cret"), previous_until=START.timestamp() + 10
        )
    )
    assert checker.opens() and checker.opens(header=new)
    checker.wait(10)
    assert not checker.opens() and checker.opens(header=new)


def test_a_changed_table_takes_effect_at_the_next_request() -> None:
    checker = Checker(GRANT)
    assert checker.opens()
    checker.grants = (replace(GRANT, scopes=(Scope.FEEDBACK,)),)
    assert not checker.opens() and checker.opens(Scope.FEEDBACK)
    checker.grants = ()
    assert not checker.opens(Scope.FEEDBACK)


def test_a_header_is_hashed_once_while_the_table_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    checker, hashed = Checker(GRANT), []
    monkeypatch.setattr(authentication, "digest_of", lambda text: hashed.append(text) or digest_of(text))
    for _ in range(5):
        checker.admit()
    assert len(hashed) == 1
    checker.grants = (GRANT,)
    checker.admit()
    assert len(hashed) == 2


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "REMEMBERED", 3)
    checker = Checker(GRANT)
    for spaces in range(1, 20):
        assert checker.opens(header=f"Bearer{' ' * spaces}llk_k1_s3cret")
        assert len(checker.key_checker._known) <= 3


def test_the_environments_keys_open_in_addition_to_the_stores() -> None:
    checker = Checker(
        GRANT, static=static_grants(KeySettings(app=SecretStr("schlüssel"), ops=SecretStr("llk_k1_mine")))
    )
    as_sent = "schlüssel".encode().decode("latin-1")
    assert checker.opens(header=f"Bearer {as_sent}") and not checker.opens(Scope.OPS_READ, header=f"Bearer {as_sent}")
    assert checker.opens(Scope.ADMIN, header="Bearer llk_k1_mine") and checker.opens()


@pytest.mark.parametrize("header", [None, "Bearer x", KEY, "x" * 5000])
def test_where_anyone_may_come_everything_opens_but_the_inside(header: str | None) -> None:
    checker = Checker(anyone=ANYONE, static=static_grants(KeySettings(internal=SecretStr("in"))))
    assert [scope for scope in Scope if not checker.opens(scope, header=header)] == [Scope.INTERNAL]
    assert checker.opens(Scope.INTERNAL, header="Bearer in")


def limited(**limits: int) -> Checker:
    return Checker(replace(GRANT, limits=Limits(**limits)))


def refusal(checker: Checker) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        checker.admit()
    return caught.value


def test_requests_per_minute_are_counted_reported_and_refused_until_one_is_free() -> None:
    checker = limited(requests_per_minute=3)
    headers = [checker.admit().headers for _ in range(3)]
    assert [t["x-ratelimit-remaining-requests"] for t in headers] == ["2", "1", "0"]
    assert headers[0] == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "20s",
    }
    error = refusal(checker)
    assert (error.status, error.retry_after_s) == (429, 20) and "3 requests a minute" in str(error)
    assert error.headers["x-ratelimit-reset-requests"] == "1m0s"
    checker.wait(20)
    checker.admit()
    assert refusal(checker).retry_after_s == pytest.approx(20)


def test_tokens_are_charged_afterwards_and_a_debt_refuses_the_next() -> None:
    checker = limited(tokens_per_minute=60)
    checker.admit().release(60)
    last = checker.admit()  # an empty bucket is not below zero
    last.release(30)
    error = refusal(checker)
    assert error.retry_after_s == 30 and error.headers["x-ratelimit-remaining-tokens"] == "0"
    assert error.headers["x-ratelimit-reset-tokens"] == "1m30s"
    checker.wait(30)
    assert checker.admit().headers["x-ratelimit-remaining-tokens"] == "0"


def test_requests_at_once_are_bounded_and_an_end_frees_a_slot() -> None:
    checker = limited(concurrent=2)
    first, second = checker.admit(), checker.admit()
    assert first.headers == {} and refusal(checker).retry_after_s == 1
    second.release(7)
    second.release(7)  # an end counts once
    checker.admit()
    refusal(checker)


def test_a_refusal_costs_nothing() -> None:
    checker = limited(requests_per_minute=2, concurrent=1)
    held = checker.admit()
    for _ in range(5):
        assert "at once" in str(refusal(checker))
    held.release(0)
    assert checker.admit().headers["x-ratelimit-remaining-requests"] == "0"


def test_what_was_used_outlives_another_table_and_other_limits_begin_at_zero() -> None:
    checker = limited(requests_per_minute=1)
    checker.admit()
    checker.grants = (replace(checker.grants[0]),)
    refusal(checker)
    checker.grants = (replace(checker.grants[0], limits=Limits(requests_per_minute=2)),)
    assert checker.admit().headers["x-ratelimit-remaining-requests"] == "1"


def test_two_keys_do_not_use_each_others_limits() -> None:
    other = replace(GRANT, id="k2", limits=Limits(requests_per_minute=1))
    checker = Checker(replace(GRANT, limits=Limits(requests_per_minute=1)), other)
    checker.admit()
    checker.admit(header="Bearer llk_k2_s3cret")
    refusal(checker)


def test_a_clock_that_is_put_back_fills_nothing() -> None:
    checker = limited(requests_per_minute=60)
    for _ in range(60):
        checker.admit()
    checker.wait(-3600)
    refusal(checker)
    checker.now += timedelta(seconds=3600)
    refusal(checker)
    checker.wait(1)
    checker.admit()


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 500)), max_size=60))
def test_over_any_stretch_no_more_requests_get_in_than_a_full_bucket_and_its_filling(
    steps: list[tuple[float, int]],
) -> None:
    checker, let_in, passed = limited(requests_per_minute=10, tokens_per_minute=100), 0, 0.0
    for wait, tokens in steps:
        checker.wait(wait)
        passed += wait
        try:
            checker.admit().release(tokens)
            let_in += 1
        except LimitReached:
            pass
    assert let_in <= 10 + passed * 10 / 60 + 1e-6


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (0.0201, "21ms"), (8.64, "8.64s"), (59.2, "59.2s"), (119.7, "2m0s")]
)
def test_a_reset_is_written_as_openai_does(seconds: float, text: str) -> None:
    assert authentication._duration(seconds) == text


def test_tokens_are_reserved_before_an_engine_works_and_settled_afterwards() -> None:
    checker = limited(tokens_per_minute=10_000)
    let_in = [checker.admit() for _ in range(4)]
    for permit in let_in:
        permit.reserve(2048)
    for _ in range(252):
        permit = checker.admit()
        with pytest.raises(LimitReached, match="10000 tokens a minute"):
            permit.reserve(2048)
        permit.release(0)
    for permit in let_in:
        permit.release(48)
    again = checker.admit()
    assert again.headers["x-ratelimit-remaining-tokens"] == str(10_000 - 4 * 48)
    again.reserve(1000)
    assert again.headers["x-ratelimit-remaining-tokens"] == str(10_000 - 4 * 48 - 1000)


def test_a_request_above_the_limit_needs_a_full_bucket_and_a_debt_is_at_most_one() -> None:
    checker = limited(tokens_per_minute=60)
    first = checker.admit()
    first.reserve(100_000)
    first.release(100_000)
    assert refusal(checker).retry_after_s == 60
    checker.wait(60)
    with pytest.raises(LimitReached) as found:
        checker.admit().reserve(10)
    assert found.value.retry_after_s == 10


def test_a_request_that_is_refused_for_its_tokens_does_not_count() -> None:
    checker = limited(requests_per_minute=2, tokens_per_minute=60)
    checker.admit().reserve(60)
    refused = checker.admit()
    with pytest.raises(LimitReached):
        refused.reserve(1)
    refused.release(0)
    assert checker.admit().headers["x-ratelimit-remaining-requests"] == "0"

"""Facts about ID tokens: a token opens only if its signature and each of its claims are right."""

import time
from typing import Any

import pytest
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from core.errors import LoginRefused
from ops.oidc.id_token import LEEWAY, read_keys, verify
from tests.support.oidc import CLIENT, FakeProvider

NOW = 1_772_334_000.0
NONCE = "n-0S6_WzA2Mj"


@pytest.fixture(scope="module")
def provider() -> FakeProvider:
    made = FakeProvider()
    made.url, made.now = "https://id.example", NOW
    return made


def opened(provider: FakeProvider, claims: dict[str, Any], now: float = NOW, keys: Any = None) -> dict[str, Any]:
    provider.claims = claims
    keys = keys or read_keys(KeySet([provider.key]).as_dict(private=False))
    return verify(provider.signed(NONCE), keys, issuer="https://id.example", client_id=CLIENT, nonce=NONCE, now=now)


def test_a_right_token_gives_its_claims(provider: FakeProvider) -> None:
    assert opened(provider, {})["sub"] == "248289761001"
    assert opened(provider, {"aud": [CLIENT]})["aud"] == [CLIENT]
    assert opened(provider, {"aud": [CLIENT, "another"], "azp": CLIENT})["azp"] == CLIENT


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"nonce": ["another"]}, "nonce"),
        ({"nonce": [NONCE]}, "nonce"),
        ({"aud": "another"}, "aud"),
        ({"aud": ["another"]}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": [CLIENT, "another"]}, "several clients"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "azp"),
        ({"azp": "another"}, "azp"),
        ({"azp": [CLIENT, "another"]}, "azp"),
        ({"iss": "https://evil.example"}, "iss"),
        ({"iss": "https://id.example/"}, "iss"),
        ({"iss": ["https://id.example"]}, "iss"),
        ({"iss": None}, "iss"),
        ({"exp": None}, "exp"),
        ({"exp": "never"}, "exp"),
        ({"exp": float("nan")}, "exp"),
        ({"iat": None}, "iat"),
        ({"iat": NOW + 3600}, "in the future"),
        ({"nbf": NOW + 3600}, "not yet valid"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
    ],
)
def test_a_wrong_claim_is_refused_and_named(provider: FakeProvider, claims: dict[str, Any], said: str) -> None:
    with pytest.raises(LoginRefused) as caught:
        opened(provider, claims)
    assert said in str(caught.value)


def test_clocks_may_differ_by_a_minute(provider: FakeProvider) -> None:
    assert opened(provider, {"exp": NOW - LEEWAY + 1}) and opened(provider, {"iat": NOW + LEEWAY})
    with pytest.raises(LoginRefused, match="has expired"):
        opened(provider, {"exp": NOW - LEEWAY})


def test_a_signature_of_another_key_is_refused(provider: FakeProvider) -> None:
    others = KeySet([RSAKey.generate_key(2048, {"kid": "one"}), ECKey.generate_key("P-256", {"kid": "two"})])
    with pytest.raises(LoginRefused, match="not signed as it must be"):
        opened(provider, {}, keys=read_keys(others.as_dict(private=False)))


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_no_signature_and_one_with_the_public_key_as_a_secret_are_refused(algorithm: str) -> None:
    provider = FakeProvider()
    provider.url, provider.now, provider.algorithm = "https://id.example", NOW, algorithm
    with pytest.raises(LoginRefused, match="not signed as it must be"):
        opened(provider, {})


@pytest.mark.parametrize("text", ["", "a.b.c", "....", "é", "a" * 100_000, "null", "e30..", "e30.e30.e30"])
def test_what_is_no_token_is_refused(provider: FakeProvider, text: str) -> None:
    keys = read_keys(KeySet([provider.key]).as_dict(private=False))
    with pytest.raises(LoginRefused):
        verify(text, keys, issuer="https://id.example", client_id=CLIENT, nonce=NONCE, now=time.time())


def test_a_changed_token_is_refused(provider: FakeProvider) -> None:
    keys = read_keys(KeySet([provider.key]).as_dict(private=False))
    provider.claims = {}
    head, body, signature = provider.signed(NONCE).split(".")
    provider.claims = {"sub": "boss"}
    other = provider.signed(NONCE).split(".")[1]
    assert other != body
    with pytest.raises(LoginRefused, match="not signed"):
        verify(
            f"{head}.{other}.{signature}",
            keys,
            issuer="https://id.example",
            client_id=CLIENT,
            nonce=NONCE,
            now=NOW,
        )


def test_only_public_keys_for_signatures_are_taken(provider: FakeProvider) -> None:
    right = KeySet([provider.key]).as_dict(private=False)["keys"]
    secret = OctKey.generate_key(256).as_dict(private=True)
    other = RSAKey.generate_key(2048, {"kid": "enc", "use": "enc"}).as_dict(private=False)
    odd = [{"kty": "EC", "crv": "P-0"}, {"kty": "RSA"}, {"kty": "new"}, "no key"]
    assert [key.kid for key in read_keys({"keys": [secret, other, *odd, *right]}).keys] == ["one"]
    for nothing in ({"keys": [secret]}, {"keys": []}, {}, [], None, {"keys": "x"}):
        with pytest.raises(ValueError, match="key"):
            read_keys(nothing)

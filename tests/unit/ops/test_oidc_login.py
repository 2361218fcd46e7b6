"""Facts about the console's log-in by an OpenID Connect provider: what lets somebody in, and all that does not."""

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest
from joserfc.jwk import RSAKey

from core.settings import build
from ops.console.login import FRONT
from ops.oidc.pending import SECONDS
from tests.support.oidc import ADA, CLIENT, PUBLIC, SECRET, FakeProvider, OidcConsole, query_of, settings_of


def test_a_person_logs_in_with_code_pkce_state_and_nonce(oidc: OidcConsole, provider: FakeProvider) -> None:
    url = oidc.start("/runs?model=reviews")
    asked = query_of(url)
    assert url.startswith(f"{provider.url}/authorize?")
    assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{PUBLIC}/login/oidc/callback" and asked["scope"] == "openid email profile"
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    answer = oidc.browser.get(oidc.at_provider(url))
    assert answer.status_code == 303 and answer.headers["location"] == "/runs?model=reviews"
    page = oidc.browser.get("/runs")
    assert page.status_code == 200 and "ada@example.com" in page.text and "may read" not in page.text
    assert ("login", "ok", ADA) in oidc.acts()


def test_the_code_is_exchanged_with_the_secret_which_is_in_no_log(
    oidc: OidcConsole, provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    oidc.sign_in()
    pair = base64.b64encode(f"{CLIENT}:{quote_plus(SECRET)}".encode()).decode()
    assert provider.token_request["authorization"] == f"Basic {pair}"
    assert "client_secret" not in provider.token_request["form"]
    assert not any(hidden in caplog.text for hidden in (SECRET, quote_plus(SECRET), pair, provider.id_token))
    assert SECRET not in repr(oidc.control.settings)


def test_a_provider_that_takes_secrets_in_the_body_only_gets_it_there(
    oidc: OidcConsole, provider: FakeProvider
) -> None:
    provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"]}
    assert oidc.sign_in().status_code == 303
    assert provider.token_request["authorization"] is None
    assert provider.token_request["form"]["client_secret"] == SECRET


def test_cookies_are_out_of_reach_for_scripts_and_for_other_sites_requests(oidc: OidcConsole) -> None:
    first = oidc.browser.get("/login/oidc").headers["set-cookie"]
    assert "HttpOnly" in first and "SameSite=lax" in first and f"Max-Age={SECONDS}" in first
    last = oidc.sign_in().headers["set-cookie"]
    assert last.startswith("loraloop_session=") and "HttpOnly" in last and "SameSite=lax" in last
    assert "Secure" not in last and 'loraloop_login=""' in last


def test_under_a_public_url_of_https_both_cookies_need_tls(
    tmp_path: Path, provider: FakeProvider, oidc: OidcConsole
) -> None:
    plain = oidc.plain | {"control": {"public_url": "https://ops.example"}}
    oidc.use(build(plain))
    begun = oidc.browser.get("/login/oidc")
    cookie = begun.headers["set-cookie"]
    assert cookie.startswith("__Host-loraloop_login=") and "Secure" in cookie and "Path=/" in cookie
    back = httpx.get(begun.headers["location"], trust_env=False).headers["location"]
    name, _, value = cookie.partition(";")[0].partition("=")
    headers = {"Cookie": f"{name}={value}"}
    answer = oidc.browser.get(back.removeprefix("https://ops.example"), headers=headers)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-loraloop_session=") and "Secure" in cookie
    session = cookie.partition(";")[0]
    oidc.browser.cookies.clear()
    # Also behind a proxy that does not say that it has TLS.
    assert oidc.browser.get("/runs", headers={"Cookie": session}).status_code == 200


def test_over_tls_a_cookie_that_anybody_could_have_set_does_not_count(oidc: OidcConsole) -> None:
    oidc.sign_in()
    assert oidc.browser.get("/runs").status_code == 200
    assert oidc.browser.get("/runs", headers={"X-Forwarded-Proto": "https"}).status_code == 401


def test_each_log_in_has_a_new_cookie_and_ends_the_session_before(oidc: OidcConsole) -> None:
    oidc.browser.cookies.set("loraloop_session", "planted", domain="testserver.local")
    oidc.sign_in()
    first = oidc.browser.cookies["loraloop_session"]
    oidc.sign_in()
    second = oidc.browser.cookies["loraloop_session"]
    assert len({"planted", first, second}) == 3
    assert oidc.count() == 1
    oidc.browser.cookies.clear()
    oidc.browser.cookies.set("loraloop_session", first)
    assert oidc.browser.get("/runs").status_code == 401


def test_a_log_in_by_the_provider_ends_one_by_a_key_and_the_other_way_round(oidc: OidcConsole) -> None:
    oidc.log_in("reader")
    key_session = oidc.browser.cookies["loraloop_session"]
    oidc.sign_in()
    assert "ada@example.com" in oidc.browser.get("/runs").text
    oidc.log_in("reader")
    assert oidc.count() == 0
    oidc.browser.cookies.clear()
    oidc.browser.cookies.set("loraloop_session", key_session)
    assert oidc.browser.get("/runs").status_code == 401


def test_the_store_has_no_cookie_only_its_hash(oidc: OidcConsole) -> None:
    oidc.sign_in()
    rows = oidc.control.store._connection.execute("SELECT * FROM console_sessions").fetchall()
    assert oidc.browser.cookies["loraloop_session"] not in json.dumps(rows, default=str)
    assert len(rows) == 1 and len(rows[0][0]) == 64


# The state and the browser


def test_a_wrong_or_missing_state_is_refused(oidc: OidcConsole) -> None:
    back = oidc.at_provider(oidc.start())
    right = query_of(back)["state"]
    for path in (back.replace(right, "wrong"), f"/login/oidc/callback?code={query_of(back)['code']}"):
        answer = oidc.browser.get(path)
        assert answer.status_code == 401 and "not begun in this browser" in answer.text
    assert ("login", "refused", "") in oidc.acts()
    oidc.check_refused(oidc.browser.get(back.replace(right, "é")), 401, "not begun in this browser")


def test_a_state_is_used_once(oidc: OidcConsole, provider: FakeProvider) -> None:
    url = oidc.start()
    cookie = oidc.login_cookie
    back = oidc.at_provider(url)
    assert oidc.browser.get(back).status_code == 303
    oidc.browser.cookies.clear()
    oidc.browser.cookies.set("loraloop_login", cookie)
    provider.codes["code-again"] = query_of(url)
    again = back.replace(query_of(back)["code"], "code-again")
    assert oidc.browser.get(again).status_code == 401
    assert "code-again" in provider.codes  # the provider was not asked


def test_a_code_that_is_used_twice_is_refused(oidc: OidcConsole, provider: FakeProvider) -> None:
    back = oidc.at_provider(oidc.start())
    provider.codes.clear()
    oidc.check_refused(oidc.browser.get(back), 401, "does not accept this log-in any more")


def test_another_browser_cannot_end_what_this_one_began(oidc: OidcConsole) -> None:
    back = oidc.at_provider(oidc.start())
    own = oidc.login_cookie
    oidc.browser.cookies.clear()
    assert oidc.browser.get(back).status_code == 401
    oidc.browser.cookies.set("loraloop_login", "another")
    assert oidc.browser.get(back).status_code == 401
    oidc.browser.cookies.clear()
    oidc.browser.cookies.set("loraloop_login", own)  # the attempts of others do not use it up
    assert oidc.browser.get(back).status_code == 303


def test_a_log_in_that_takes_too_long_is_refused(oidc: OidcConsole) -> None:
    back = oidc.at_provider(oidc.start())
    oidc.clock.now += timedelta(seconds=SECONDS + 1)
    oidc.check_refused(oidc.browser.get(back), 401, "more than ten minutes")


def test_a_stolen_code_does_not_fit_another_log_in(oidc: OidcConsole) -> None:
    """PKCE: the code of one log-in arrives with the state of another."""
    theirs = query_of(oidc.at_provider(oidc.start()))["code"]
    own = oidc.at_provider(oidc.start())
    answer = oidc.browser.get(own.replace(query_of(own)["code"], theirs))
    oidc.check_refused(answer, 401, "does not accept this log-in any more")


def test_an_answer_of_another_issuer_is_refused(oidc: OidcConsole) -> None:
    back = oidc.at_provider(oidc.start())
    oidc.check_refused(oidc.browser.get(f"{back}&iss=https://evil.example"), 401, "another provider")


def test_what_the_provider_refuses_is_said_and_is_only_text(oidc: OidcConsole) -> None:
    state = query_of(oidc.start())["state"]
    answer = oidc.browser.get("/login/oidc/callback", params={"state": state, "error": "<script>denied"})
    assert "<script>denied" not in answer.text
    oidc.check_refused(answer, 401, "did not log you in: .*denied")
    state = query_of(oidc.start())["state"]
    assert "sent no code" in oidc.browser.get("/login/oidc/callback", params={"state": state}).text


# The ID token. test_oidc_tokens.py has each claim.


@pytest.mark.parametrize(
    ("claims", "said"), [({"nonce": "another"}, "nonce"), ({"aud": "another"}, "aud"), ({"sub": ""}, "sub")]
)
def test_a_token_with_a_wrong_claim_lets_nobody_in(
    oidc: OidcConsole, provider: FakeProvider, claims: dict[str, Any], said: str
) -> None:
    provider.claims = claims
    oidc.check_refused(oidc.sign_in(), 401, said)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_without_a_signature_of_the_provider_lets_nobody_in(
    oidc: OidcConsole, provider: FakeProvider, algorithm: str
) -> None:
    provider.algorithm = algorithm
    oidc.check_refused(oidc.sign_in(), 401, "not signed as it must be")


def test_an_expired_token_lets_nobody_in(oidc: OidcConsole, provider: FakeProvider) -> None:
    provider.now -= 360
    oidc.check_refused(oidc.sign_in(), 401, "has expired")


def test_a_provider_may_change_its_keys_at_any_time(oidc: OidcConsole, provider: FakeProvider) -> None:
    oidc.sign_in()
    provider.key = provider.signing = RSAKey.generate_key(2048, {"kid": "one"})
    assert oidc.sign_in().status_code == 303


# Where a log-in leads, and a provider that is down


@pytest.mark.parametrize(
    "onward",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/\t/evil", "", "/logout"],
)
def test_a_log_in_leads_to_no_other_site(oidc: OidcConsole, onward: str) -> None:
    assert oidc.sign_in(onward).headers["location"] == FRONT


def test_with_a_provider_that_is_down_the_page_says_so_and_a_key_logs_in(
    oidc: OidcConsole, provider: FakeProvider
) -> None:
    provider.down = True
    answer = oidc.browser.get("/login/oidc", params={"onward": "/runs"})
    assert answer.headers["retry-after"] and 'value="/runs"' in answer.text
    oidc.check_refused(answer, 503, "answered 500")
    assert oidc.browser.get("/login").status_code == 200


def test_a_provider_that_is_down_is_not_asked_at_each_request(oidc: OidcConsole, provider: FakeProvider) -> None:
    provider.down = True
    assert [oidc.browser.get("/login/oidc").status_code for _ in range(5)] == [503] * 5
    assert provider.discoveries == 1
    provider.down = False
    oidc.clock.now += timedelta(seconds=11)
    assert [oidc.browser.get("/login/oidc").status_code for _ in range(5)] == [303] * 5
    assert provider.discoveries == 2


def test_a_provider_that_nobody_answers_for_is_down(oidc: OidcConsole, tmp_path: Path) -> None:
    oidc.use(build(settings_of("http://127.0.0.1:1", tmp_path)))
    oidc.check_refused(oidc.browser.get("/login/oidc"), 503, "127.0.0.1:1 does not answer")


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"issuer": "https://evil.example"}, "is about the issuer"),
        ({"token_endpoint": None}, "no usable token_endpoint"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "no usable authorization_endpoint"),
        ({"jwks_uri": "file:///etc/passwd"}, "no usable jwks_uri"),
    ],
)
def test_a_discovery_document_that_does_not_fit_is_refused(
    oidc: OidcConsole, provider: FakeProvider, metadata: dict[str, Any], said: str
) -> None:
    provider.metadata = metadata
    oidc.check_refused(oidc.browser.get("/login/oidc"), 503, said)


def test_a_wrong_secret_names_the_setting_and_not_the_secret(oidc: OidcConsole, provider: FakeProvider) -> None:
    back = oidc.at_provider(oidc.start())
    for query in provider.codes.values():
        query["redirect_uri"] = "another"
    answer = oidc.browser.get(back)
    assert SECRET not in answer.text
    oidc.check_refused(answer, 503, "LORALOOP_OIDC_CLIENT_SECRET")


def test_without_the_setting_there_is_no_such_log_in(oidc: OidcConsole) -> None:
    oidc.use(build({name: value for name, value in oidc.plain.items() if name != "login"}))
    assert "Log in with" not in oidc.browser.get("/login").text
    for path in ("/login/oidc", "/login/oidc/callback?code=a&state=b"):
        assert oidc.browser.get(path).status_code == 404, path

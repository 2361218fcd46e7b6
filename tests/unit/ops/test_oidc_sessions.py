"""Facts about people who logged in by a provider: what their groups open, who acts, and when a session ends."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.db import console_sessions
from core.settings import build
from tests.support.oidc import ADA, CLIENT, FakeProvider, OidcConsole, settings_of

# Groups, roles, models


def test_a_person_without_a_mapped_group_reads_which_groups_came_and_which_setting_maps_them(
    oidc: OidcConsole, provider: FakeProvider
) -> None:
    provider.person["groups"] = ["staff", "<b>cooks"]
    answer = oidc.sign_in()
    assert answer.status_code == 403
    assert "staff" in answer.text and "login.oidc.roles" in answer.text and "ada@example.com" in answer.text
    assert "<b>" not in answer.text and "&lt;b&gt;cooks" in answer.text
    assert f"{provider.url}/leave?" in answer.text
    assert oidc.browser.get("/runs").status_code == 401 and oidc.count() == 0
    assert ("login", "refused", ADA) in oidc.acts()
    del provider.person["groups"]
    assert "no groups in the claim groups" in oidc.sign_in().text


def test_groups_may_come_from_the_userinfo_endpoint(oidc: OidcConsole, provider: FakeProvider) -> None:
    del provider.person["groups"]
    provider.userinfo = {"groups": ["eyes"], "email": "somebody@else.example"}
    assert oidc.sign_in().status_code == 303
    page = oidc.browser.get("/runs").text
    assert "ada@example.com, may read" in page  # what was signed wins


def test_a_userinfo_about_somebody_else_is_refused(oidc: OidcConsole, provider: FakeProvider) -> None:
    del provider.person["groups"]
    provider.userinfo = {"groups": ["root"], "sub": "another"}
    oidc.check_refused(oidc.sign_in(), 401, "about somebody else")


@pytest.mark.parametrize(
    ("groups", "reads", "acts_too", "admin"),
    [(["eyes"], 200, 403, 403), (["ops", "eyes"], 200, 200, 403), (["root"], 200, 200, 200)],
)
def test_roles_open_what_keys_of_their_scopes_open(
    oidc: OidcConsole, provider: FakeProvider, groups: list[str], reads: int, acts_too: int, admin: int
) -> None:
    oidc.promote(1)
    provider.person["groups"] = groups
    oidc.sign_in()
    assert oidc.browser.get("/runs").status_code == reads
    assert oidc.browser.get("/models/reviews/rollback").status_code == acts_too
    assert oidc.browser.get("/audit").status_code == admin
    if admin == 403:
        assert "lacks the scope admin" in oidc.browser.get("/audit").text
        assert ("audit.read", "refused", ADA) in oidc.acts()


def test_a_person_who_may_see_one_model_starts_at_it_and_sees_no_other(
    oidc: OidcConsole, provider: FakeProvider
) -> None:
    provider.person["groups"] = ["shop", "eyes"]
    assert oidc.sign_in().headers["location"] == "/overview?model=tweets"
    own = oidc.browser.get("/overview?model=tweets")
    assert own.status_code == 200 and "reviews" not in own.text
    for path in (
        "/overview",
        "/overview?model=reviews",
        "/promotions",
        "/promotions?model=reviews",
        "/models/reviews",
        "/system",
        "/audit",
        "/erasures",
    ):
        assert oidc.browser.get(path).status_code == 403, path
    assert "Your groups do not open the model" in oidc.browser.get("/models/reviews").text


def test_an_act_names_the_person_in_the_ledger_and_the_audit_log(oidc: OidcConsole) -> None:
    oidc.promote(1)
    oidc.sign_in()
    assert oidc.form("/models/reviews/rollback", comment="a drill").status_code == 303
    assert ("rolled_back", ADA) in oidc.verdicts()
    assert ("models.rollback", "ok", ADA) in oidc.acts()


def test_a_form_of_another_session_does_nothing(oidc: OidcConsole) -> None:
    oidc.promote(1)
    oidc.sign_in()
    page = oidc.browser.get("/models/reviews/rollback").text
    stolen = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    oidc.sign_in()
    assert oidc.browser.post("/models/reviews/rollback", data=stolen).status_code == 403
    assert oidc.control.promotion.route("reviews").champion == 1


# The end of a session


def test_a_session_expires_and_its_row_is_deleted(oidc: OidcConsole) -> None:
    oidc.sign_in()
    oidc.clock.now += timedelta(hours=12)
    assert oidc.browser.get("/runs").status_code == 401
    assert oidc.count() == 1
    console_sessions.delete_expired(oidc.control.store, now=oidc.clock())
    assert oidc.count() == 0


def test_after_a_log_out_a_copy_of_the_cookie_opens_nothing(oidc: OidcConsole, provider: FakeProvider) -> None:
    oidc.sign_in()
    old = dict(oidc.browser.cookies)
    page = oidc.browser.get("/runs").text
    token = re.search(r'name="token" value="(\w+)"', page)
    assert token
    answer = oidc.browser.post("/logout", data={"token": token[1]})
    assert answer.status_code == 200 and "Logged out" in answer.text
    link = re.search(r'href="([^"]*leave[^"]*)"', answer.text)
    assert link and link[1].startswith(f"{provider.url}/leave?client_id={CLIENT}&amp;post_logout_redirect_uri=")
    assert ("logout", "ok", ADA) in oidc.acts()
    oidc.browser.cookies.update(old)
    assert oidc.browser.get("/runs").status_code == 401


def test_a_session_goes_on_after_a_restart(oidc: OidcConsole, provider: FakeProvider, tmp_path: Path) -> None:
    oidc.sign_in()
    page = oidc.browser.get("/runs").text
    cookies = dict(oidc.browser.cookies)
    oidc.control.store.close()
    again = OidcConsole(tmp_path, provider.url)
    again.browser.cookies.update(cookies)
    after = again.browser.get("/runs")
    assert after.status_code == 200
    token = re.compile(r'name="token" value="(\w+)"')
    assert token.findall(after.text) == token.findall(page)  # forms of open pages still work
    again.control.store.close()
    oidc.control.store = again.control.store


def test_a_key_that_logs_in_after_a_session_over_tls_has_ended_is_let_in(oidc: OidcConsole) -> None:
    oidc.browser.cookies.set("__Host-loraloop_session", "old", domain="testserver.local")
    oidc.log_in("reader")
    assert oidc.browser.get("/runs").status_code == 200


def test_a_person_without_a_role_does_not_end_the_session_of_a_key(oidc: OidcConsole, provider: FakeProvider) -> None:
    oidc.log_in("reader")
    provider.person["groups"] = []
    assert oidc.sign_in().status_code == 403
    assert oidc.browser.get("/runs").status_code == 200


def test_changed_settings_hold_for_sessions_that_are_open(
    oidc: OidcConsole, provider: FakeProvider, tmp_path: Path
) -> None:
    oidc.sign_in()
    assert oidc.browser.get("/models/reviews/rollback").status_code != 403

    def use(**changes: Any) -> int:
        oidc.use(build(settings_of(provider.url, tmp_path, **changes)))
        return oidc.browser.get("/runs").status_code

    assert use(roles={"ops": "viewer"}, models={}) == 200
    assert oidc.browser.get("/models/reviews/rollback").status_code == 403
    assert use(roles={"ops": "operator"}, models={"ops": ["tweets"]}) == 403
    assert use(roles={"eyes": "viewer"}, models={}) == 401
    assert use(issuer="https://another.example") == 401
    oidc.use(build({name: value for name, value in oidc.plain.items() if name != "login"}))
    assert oidc.browser.get("/runs").status_code == 401

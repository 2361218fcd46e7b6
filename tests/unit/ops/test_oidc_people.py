"""Facts about people and their groups, and about log-ins that have begun."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api_keys import Scope
from core.errors import LoginRefused
from core.settings import OidcSettings
from ops.oidc.pending import MOST_PENDING, SECONDS, PendingLogins
from ops.oidc.people import ROLES, access_of, claim_of, person_of
from tests.support.console_security import Moving

ISSUER = "https://id.example"
GROUPS = ("a", "b", "c", "d")


def settings(roles: dict[str, Any], models: dict[str, list[str]] | None = None) -> OidcSettings:
    return OidcSettings(issuer=ISSUER, client_id="x", roles=roles, models=models or {})


def test_the_strongest_role_counts_and_the_reason_names_its_group() -> None:
    found = access_of(["staff", "eyes", "ops"], settings({"eyes": "viewer", "ops": "operator", "root": "admin"}))
    assert (found.role, found.models) == ("operator", None)
    assert found.reason == "ops gives the role operator on all models."


def test_a_strong_role_on_one_model_does_not_become_one_on_all() -> None:
    mapped = settings({"eyes": "viewer", "shop": "admin"}, {"shop": ["tweets"]})
    found = access_of(["eyes", "shop"], mapped)
    assert (found.role, found.models) == ("admin", ("tweets",))
    assert found.reason == "shop gives the role admin on tweets."


def test_groups_of_one_role_add_up_their_models() -> None:
    mapped = settings(dict.fromkeys("ab", "viewer"), {"a": ["x"], "b": ["y", "x"]})
    assert access_of(["b", "a"], mapped).models == ("x", "y")


def test_without_a_mapped_group_there_is_no_access_and_the_reason_has_groups_claim_and_setting() -> None:
    found = access_of(["staff", "cooks"], settings({"ops": "operator"}))
    assert found.role is None and not found.opens(Scope.OPS_READ)
    assert "staff, cooks in the claim groups" in found.reason and "login.oidc.roles" in found.reason
    assert "no groups in the claim groups" in access_of([], settings({"ops": "operator"})).reason
    many = access_of([f"g{n}" for n in range(300)], settings({"ops": "operator"})).reason
    assert "and 280 more" in many and len(many) < 400
    assert access_of(["OPS", "ops "], settings({"ops": "operator"})).role is None  # names are compared exactly


@given(
    st.lists(st.sampled_from(GROUPS), unique=True),
    st.dictionaries(st.sampled_from(GROUPS), st.sampled_from(ROLES), min_size=1),
    st.dictionaries(st.sampled_from(GROUPS), st.lists(st.sampled_from("xyz"), min_size=1, unique=True)),
)
def test_each_role_on_a_model_is_given_by_one_group_that_has_both(
    groups: list[str], roles: dict[str, Any], models: dict[str, list[str]]
) -> None:
    limited = {group: names for group, names in models.items() if group in roles}
    found = access_of(groups, settings(roles, limited))
    giving = [group for group in groups if roles.get(group) == found.role and found.role is not None]
    assert (found.role is None) is (not set(groups) & set(roles))
    for model in "xyz" if found.models is None else found.models:
        if found.role:
            assert any(group not in limited or model in limited[group] for group in giving)
    if found.role and found.models is None:
        assert any(group not in limited for group in giving)


def test_an_actor_is_named_by_address_and_subject() -> None:
    person = person_of({"sub": "7", "email": "ada@example.com", "groups": ["a", "a", 3, ""]}, ISSUER, "groups")
    assert person.actor == "ada@example.com (person 7)" and person.name == "ada@example.com"
    assert person.groups == ("a",)
    assert person.id == person_of({"sub": "7"}, ISSUER, "groups").id and person.id.startswith("person-")
    assert person.id != person_of({"sub": "7"}, "https://other.example", "groups").id
    assert person.id != person_of({"sub": "8"}, ISSUER, "groups").id


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "ada@example.com", "email_verified": False},
        {"email": "ada@example.com", "email_verified": "false"},
        {"email": "ada@example.com", "email_verified": None},
        {"email": "boss@x.example (person 1)"},
        {"email": "boss (key 59914cfc86)"},
        {"email": "a@b\nc"},
        {"email": "a@" + "b" * 300},
        {"email": ["a@b.example"]},
        {"email": ""},
        {},
    ],
)
def test_an_address_that_is_not_verified_or_looks_like_an_actor_is_not_shown(claims: dict[str, Any]) -> None:
    person = person_of({"sub": "7"} | claims, ISSUER, "groups")
    assert person.actor == "person 7" and person.name == "7"


@pytest.mark.parametrize("subject", [None, "", 7, "x" * 256, "a\nb", "é", "\u202e"])
def test_a_subject_that_cannot_be_used_is_refused(subject: Any) -> None:
    with pytest.raises(LoginRefused):
        person_of({"sub": subject}, ISSUER, "groups")


def test_a_claim_is_found_by_its_name_first_and_then_by_its_path() -> None:
    claims = {"realm_access": {"roles": ["a"]}, "https://x.example/groups": ["b"], "a.b": 1, "a": {"b": 2}}
    assert claim_of(claims, "realm_access.roles") == ["a"]
    assert claim_of(claims, "https://x.example/groups") == ["b"]
    assert claim_of(claims, "a.b") == 1
    assert claim_of(claims, "realm_access.none") is None and claim_of(claims, "a.b.c") is None
    assert person_of({"sub": "7", "group": "one"}, ISSUER, "group").groups == ("one",)


def test_a_log_in_that_has_begun_ends_once_in_its_browser_and_in_time() -> None:
    clock = Moving()
    logins = PendingLogins(clock)
    first, second = logins.begin("/runs"), logins.begin("/system")
    assert len({first.state, first.nonce, first.verifier, first.browser, second.state}) == 5
    assert not any(secret in repr(first) for secret in (first.state, first.nonce, first.verifier, first.browser))
    assert logins.take(first.state, second.browser) is None
    assert logins.take("", first.browser) is None and logins.take("é", "é") is None
    assert logins.take(first.state, first.browser) is first
    assert logins.take(first.state, first.browser) is None
    clock.now += timedelta(seconds=SECONDS)
    assert logins.take(second.state, second.browser) is None


def test_old_log_ins_give_way_to_new_ones() -> None:
    clock = Moving()
    logins = PendingLogins(clock)
    begun = [logins.begin("/") for _ in range(MOST_PENDING + 1)]
    assert logins.take(begun[0].state, begun[0].browser) is None
    assert logins.take(begun[1].state, begun[1].browser) is begun[1]
    clock.now += timedelta(seconds=SECONDS)
    logins.begin("/")
    assert logins.take(begun[2].state, begun[2].browser) is None

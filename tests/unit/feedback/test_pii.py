"""Facts about personal data in texts: what is found, and what only looks like it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.settings.privacy import SCRUB_RULES
from feedback.pii import scrub_text

FOUND = {
    "email": [
        ("write to zoe.m+shop@mail.example.co.uk, please", "write to [EMAIL], please"),
        ("Zoë@exämple.de.", "[EMAIL]."),
        ("<a@b.io>", "<[EMAIL]>"),
    ],
    "phone": [
        ("call +49 30 1234567 now", "call [PHONE] now"),
        ("+1 (415) 555-2671", "[PHONE]"),
        ("0049 (0)30 1234567", "[PHONE]"),
        ("my number: (415) 555-2671.", "my number: [PHONE]."),
        ("415-555-2671 or 415.555.2671", "[PHONE] or [PHONE]"),
        ("0176 12345678", "[PHONE]"),
        ("089/1234567", "[PHONE]"),
        ("06 12 34 56 78", "[PHONE]"),
        ("020 7946 0958", "[PHONE]"),
        ("Tel.: 1234567", "Tel.: [PHONE]"),
        ("phone number is 5551234", "phone number is [PHONE]"),
        ("+4930123456789", "[PHONE]"),
    ],
    "iban": [
        ("DE89 3704 0044 0532 0130 00 is mine", "[IBAN] is mine"),
        ("GB82WEST12345698765432", "[IBAN]"),
        ("gb82 west 1234 5698 7654 32, thanks", "[IBAN], thanks"),
        ("NO93 8601 1117 947", "[IBAN]"),
    ],
    "card": [
        ("4111 1111 1111 1111", "[CARD]"),
        ("card 5500-0000-0000-0004.", "card [CARD]."),
        ("378282246310005", "[CARD]"),
    ],
    "ip": [
        ("from 8.8.8.8.", "from [IP]."),
        ("2001:4860:4860::8888", "[IP]"),
    ],
    "national_id": [
        ("12345678Z", "[NATIONAL_ID]"),
        ("NIE x1234567l", "NIE [NATIONAL_ID]"),
        ("RSSMRA85M01H501Q", "[NATIONAL_ID]"),
        ("1 85 05 78 006 084 91", "[NATIONAL_ID]"),
        ("85.07.30-033.28", "[NATIONAL_ID]"),
        ("811228-9874", "[NATIONAL_ID]"),
        ("131052-308T", "[NATIONAL_ID]"),
        ("529.982.247-25", "[NATIONAL_ID]"),
        ("11010519491231002X", "[NATIONAL_ID]"),
    ],
    "credentials": [
        ("postgres://zoe:hunter2@db.example/x", "postgres://[CREDENTIALS]@db.example/x"),
        ("see https://u:p@example.com/a?b", "see https://[CREDENTIALS]@example.com/a?b"),
    ],
    "secret": [
        ("key sk-abcdefghijklmnopqrst1234", "key [SECRET]"),
        ("AKIAIOSFODNN7EXAMPLE", "[SECRET]"),
        ("ghp_" + "a1" * 18, "[SECRET]"),
        ("api_key=abc12345def", "api_key=[SECRET]"),
        ('"password": "hunter22!"', '"password": "[SECRET]"'),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer [SECRET]"),
        ("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4", "[SECRET]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[SECRET]"),
    ],
}
NOT_PERSONAL = [
    "order 4711-0815 of 2026-03-01, invoice 2024-00012345",
    "order number 1234567890123456, tracking 00340434161094042557",
    "EAN 4006381333931, ISBN 978-3-16-148410-0, ISBN 0-306-40615-2",
    "on 01/02/2024 at 12:30:45, 01.02.2024 12:30, 2026-03-01T12:30:45.123456Z",
    "from 01-02-2024 to 28.02.2024",
    "version 10.0.19041.1, v1.2.3.4, release 4.5.6.7, firmware: 8.8.4.4",
    "python 3.11.7, duckdb==1.5.5, npm left-pad@1.2.3",
    "192.168.1.1 and 127.0.0.1 and 10.0.0.8 are my router's",
    "std::vector<int>::iterator and a::b::c and 12:30:45:00",
    "pi is 3.14159265358979, 1,234,567.89 EUR, 100 000 000 people",
    "temperatures -12.5 to +13.75, score 0.1234567890",
    "@zoe mentioned @adam, price @ 5.00",
    "git clone git@example.com:org/repo.git",
    "https://example.com/a:b/c@d and http://example.com:8080/x@y",
    "4111 1111 1111 1112 has a wrong check digit, and 0000 0000 0000 0000 too",
    "DE89 3704 0044 0532 0130 01 has wrong check digits",
    "part AB12CDEF34567890123, serial SN12 3456 7890 1234",
    "password: please reset it, the secret is patience",
    "token limit 4096, bearer of bad news, api key rotation",
    "12345678A is no DNI, 123456-7890 is an order",
    "ratio 16:9, 1:1, sha 3f2a9c1b7d5e4f60",
    "uuid 123e4567-e89b-12d3-a456-426614174000",
    "the years 2019-2024, pages 100-200, seat 0815",
    "coordinates 52.520008, 13.404954",
    "call me at 9, phone 15 pro, mobile 4G",
    "population 83,200,000; 1 000 000; 25000000",
]
CASES = [(rule, text, scrubbed) for rule, cases in FOUND.items() for text, scrubbed in cases]


@pytest.mark.parametrize(("rule", "text", "scrubbed"), CASES, ids=[text[:30] for _, text, _ in CASES])
def test_personal_data_is_replaced_by_its_tag_and_counted(rule: str, text: str, scrubbed: str) -> None:
    found, counts = scrub_text(text, SCRUB_RULES)
    assert found == scrubbed and set(counts) == {rule}


@pytest.mark.parametrize("text", NOT_PERSONAL)
def test_what_only_looks_like_personal_data_stays(text: str) -> None:
    assert scrub_text(text, SCRUB_RULES) == (text, {})


def test_only_the_rules_that_are_named_apply() -> None:
    assert scrub_text("a@b.io and 8.8.8.8", ["ip"]) == ("a@b.io and [IP]", {"ip": 1})


def test_a_text_that_was_scrubbed_stays_as_it_is() -> None:
    for _, text, _ in CASES:
        once, _ = scrub_text(text, SCRUB_RULES)
        assert scrub_text(once, SCRUB_RULES) == (once, {})


@given(st.text(st.sampled_from("0123456789 .-+()/@:abDE\n"), max_size=60))
def test_scrubbing_twice_changes_nothing_more(text: str) -> None:
    once, _ = scrub_text(text, SCRUB_RULES)
    assert scrub_text(once, SCRUB_RULES)[0] == once


@pytest.mark.parametrize("part", ["1", "1 ", "a@", "a.", "1.", "a1:", "AB12 ", "sk-", "://a:", "(1) ", "eyJa.", "-"])
def test_the_time_grows_with_the_length_of_the_text_only(part: str) -> None:
    def seconds(length: int) -> float:
        text = part * length
        began = time.process_time()
        scrub_text(text, SCRUB_RULES)
        return time.process_time() - began

    short = max(seconds(2_000), 0.005)
    assert seconds(20_000) < 40 * short  # quadratic time would be 100 times as long

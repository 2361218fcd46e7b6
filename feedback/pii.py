"""Rules that find personal data and secrets in texts, and replace each by a tag.

A rule has a pattern and, where a number has a check digit, a test of the match. Patterns need time that grows with the
length of the text only: none has a repetition inside a repetition of the same characters.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.settings.privacy import ScrubRule
from feedback.pii_national_ids import HINT as NATIONAL_ID_FORMS
from feedback.pii_national_ids import PATTERN as NATIONAL_IDS
from feedback.pii_national_ids import is_national_id, luhn

Replace = Callable[[re.Match[str]], str | None]
"""What a match is replaced by. None: it is no personal data."""

# Letters and digits of an IBAN by country, from the register of SWIFT.
IBAN_LENGTHS = {
    code: int(length)
    for length, codes in {
        "15": "NO",
        "16": "BE",
        "18": "DK FI FO GL NL SD",
        "19": "MK SI",
        "20": "AT BA EE KZ LT LU XK MN",
        "21": "CH HR LI LV",
        "22": "BG BH CR DE GB GE IE ME RS VA",
        "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG",
        "25": "LY PT ST",
        "26": "IS TR",
        "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HU LB NI PL SV",
        "29": "BR EG PS QA UA",
        "30": "JO KW MU",
        "31": "MT SC",
        "32": "LC",
        "33": "RU",
    }.items()
    for code in codes.split()
}
# First digits of payment cards with their lengths: Visa, Mastercard, American Express, Discover, Diners, JCB, UnionPay.
CARD = re.compile(
    r"4\d{12}(?:\d{3}(?:\d{3})?)?|5[1-5]\d{14}|2(?:2[3-9]\d|[3-6]\d\d|7[01]\d|720|22[1-9])\d{12}|3[47]\d{13}"
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)
VERSION = re.compile(r"(?:\bv|version|release|build|firmware|\brev)[\s:=.]*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of personal data: where it may be, and what replaces it.

    `hint` is a regular expression of RE2, without regard to case. It matches every text that the rule changes, also as
    JSON, where a line break is \\n.
    """

    tag: str
    hint: str
    pattern: re.Pattern[str]
    replace: Replace | None = None

    def apply(self, text: str) -> tuple[str, int]:
        """The text with every match replaced, and the number of them."""
        count = 0

        def change(found: re.Match[str]) -> str:
            nonlocal count
            changed = self.tag if self.replace is None else self.replace(found)
            count += changed is not None
            return found.group() if changed is None else changed

        return self.pattern.sub(change, text), count


def _iban(found: re.Match[str]) -> str | None:
    """The tag, with what follows the IBAN: a pattern cannot know where one of its country ends."""
    text = found.group()
    length = IBAN_LENGTHS.get(text[:2].upper(), 0)
    places = [place for place, one in enumerate(text) if one.isalnum()]
    if not length or len(places) < length:
        return None
    end = places[length - 1] + 1
    if end < len(text) and text[end].isalnum():
        return None
    compact = "".join(one for one in text[:end] if one.isalnum()).upper()
    number = "".join(str(int(one, 36)) for one in compact[4:] + compact[:4])
    return f"[IBAN]{text[end:]}" if int(number) % 97 == 1 else None


def _card(found: re.Match[str]) -> str | None:
    digits = re.sub(r"\D", "", found.group())
    return "[CARD]" if CARD.fullmatch(digits) and luhn(digits) and len(set(digits)) > 1 else None


def _ip(found: re.Match[str]) -> str | None:
    """Only addresses of the public internet: 192.168.1.1 is nobody's. A version is no address."""
    text, before = found.group(), found.string[max(0, found.start() - 12) : found.start()]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    is_long = isinstance(address, ipaddress.IPv4Address) or (text[0] in "23" and text.count(":") >= 3)
    return "[IP]" if address.is_global and is_long and not VERSION.search(before) else None


def _credentials(found: re.Match[str]) -> str:
    return f"{found.group(1)}[CREDENTIALS]@"


def _secret(found: re.Match[str]) -> str | None:
    """A value after a name such as api_key has letters and digits; a known form needs no name."""
    name, value = found.group("name"), found.group("value")
    if name is None:
        return "[SECRET]"
    is_mixed = re.search(r"\d", value) and re.search(r"[A-Za-z]", value)
    return f"{name}[SECRET]" if is_mixed else None


def _phone(found: re.Match[str]) -> str | None:
    name, number = found.group("name") or "", found.group("number") or found.group("named")
    digits = sum(one.isdigit() for one in number)
    least, most = (7, 15) if name else (8, 15) if number[0] == "+" else (9, 14)
    return f"{name}[PHONE]" if least <= digits <= most else None


KNOWN_SECRETS = (
    r"sk-[A-Za-z0-9_-]{20,200}|(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{16,200}|gh[opsur]_[A-Za-z0-9]{36,255}"
    r"|github_pat_\w{22,255}|glpat-[\w-]{20,255}|xox[abprs]-[A-Za-z0-9-]{10,255}|(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|AIza[\w-]{35}|hf_[A-Za-z0-9]{30,255}|npm_[A-Za-z0-9]{36}|llk_\w{16,255}"
)
WEB_TOKEN = r"eyJ[\w-]{8,4096}\.eyJ[\w-]{8,8192}\.[\w-]{8,4096}"
SECRET_NAMES = r"api[_-]?key|access[_-]?token|auth[_-]?token|client[_-]?secret|secret|passw(?:or)?d|pwd|bearer"
PHONE_NAMES = r"tel|phone|telefon|telephone|mobile|mobil|handy|cell|call(?: me)?(?: at| on)?|fax|whatsapp"
PHONES = (
    r"\+\d{1,3}[ ./-]?(?:\(\d{1,5}\)[ ./-]?)?\d(?:[ ./-]?\d){5,12}"  # +49 30 1234567
    r"|00[1-9]\d{0,2}[ /-]?(?:\(\d{1,5}\)[ /-]?)?\d(?:[ /-]?\d){6,12}"  # 0049 30 1234567
    r"|\(0?[2-9]\d{2,3}\) ?\d{3,4}[ .-]?\d{3,4}"  # (415) 555-2671
    r"|[2-9]\d{2}(?:-[2-9]\d{2}-|\.[2-9]\d{2}\.)\d{4}"  # 415-555-2671
    r"|0[1-9](?:[ .]\d{2}){4}"  # 06 12 34 56 78
    r"|0[1-9]\d{1,3}[ /-]\d{3,4}(?: ?\d{2,4}){1,2}"  # 0176 12345678, 020 7946 0958
)
ADDRESSES = r"\d{1,3}(?:\.\d{1,3}){3}|[23][0-9A-Fa-f]{1,3}:[0-9A-Fa-f:]{2,34}[0-9A-Fa-f]"
RULES: dict[ScrubRule, Rule] = {
    "credentials": Rule(
        "[CREDENTIALS]",
        "://[^ ]+@",
        re.compile(r"(?<![\w+.-])([A-Za-z][A-Za-z0-9+.-]{1,20}://)[^\s/@:\[\]]{1,256}:[^\s/@\[\]]{1,256}@"),
        _credentials,
    ),
    "secret": Rule(
        "[SECRET]",
        # RE2 repeats at most 1,000 times, and a minimum is enough to find a text.
        re.sub(r"\{(\d+),\d+\}", r"{\1}", KNOWN_SECRETS) + f"|eyJ|PRIVATE KEY-----|(?:{SECRET_NAMES})[^a-z0-9]",
        re.compile(
            rf"(?<![A-Za-z0-9])(?:{KNOWN_SECRETS}|{WEB_TOKEN})(?![A-Za-z0-9])"
            r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]{0,10000}?-----END [A-Z ]{0,30}PRIVATE KEY-----"
            rf"|(?P<name>(?<![A-Za-z0-9])(?:{SECRET_NAMES})[\"']?[ \t]{{0,3}}[:= ][ \t]{{0,3}}[\"']?)"
            r"(?P<value>[^\s\"',;\[\]&]{8,512})",
            re.IGNORECASE | re.ASCII,
        ),
        _secret,
    ),
    "email": Rule(
        "[EMAIL]",
        "@",
        re.compile(r"(?<![\w.+%-])(?!git@[^\s:]{1,255}:)[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])"),
    ),
    "iban": Rule(
        "[IBAN]",
        r"[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11}",
        re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}", re.ASCII),
        _iban,
    ),
    "card": Rule(
        "[CARD]",
        r"\d(?:[ -]?\d){12}",
        re.compile(r"(?<![\w.+-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)", re.ASCII),
        _card,
    ),
    "national_id": Rule(
        "[NATIONAL_ID]",
        NATIONAL_ID_FORMS,
        NATIONAL_IDS,
        lambda found: "[NATIONAL_ID]" if is_national_id(found) else None,
    ),
    "ip": Rule("[IP]", ADDRESSES, re.compile(rf"(?<![\w.:-])(?:{ADDRESSES})(?![\w:-]|\.\d)", re.ASCII), _ip),
    "phone": Rule(
        "[PHONE]",
        rf"{PHONES}|(?:{PHONE_NAMES}).{{0,32}}\d[\d ()./-]{{5}}",
        re.compile(
            rf"(?P<name>(?<![^\W\d_])(?:{PHONE_NAMES})\b[.:]{{0,2}}(?: (?:number|no|is|nr)\b\.?:?){{0,2}}[ \t]{{0,3}})"
            r"(?P<named>\+?\(?\d[\d ()./-]{5,20}\d)"
            rf"|(?<![\w.+/-])(?<!\d[ -])(?P<number>{PHONES})(?![\w]|[.,-]\d)",
            re.IGNORECASE | re.ASCII,
        ),
        _phone,
    ),
}


def scrub_text(text: str, rules: Sequence[ScrubRule]) -> tuple[str, Counter[str]]:
    """The text without what the rules find, and the number of replacements by rule."""
    counts: Counter[str] = Counter()
    for name in rules:
        text, count = RULES[name].apply(text)
        if count:
            counts[name] += count
    return text, counts

"""National identity numbers that have a check digit, by country. Each function says whether a match is one.

Numbers whose check digit is weak and whose form is common, such as nine digits in the Netherlands, are left out: one of
eleven order numbers would match.
"""

import re
from collections.abc import Callable
from datetime import date

DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
HETU_CHARACTERS = "0123456789ABCDEFHJKLMNPRSTUVWXY"
CHINA_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
ITALY_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812."""
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        total += digit if place % 2 == 0 else (digit * 2 - 9 if digit > 4 else digit * 2)
    return total % 10 == 0


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _spain(text: str) -> bool:
    number = text[:-1].replace("-", "")
    first = {"X": "0", "Y": "1", "Z": "2"}.get(number[0])
    number = number if first is None else first + number[1:]
    return DNI_LETTERS[int(number) % 23] == text[-1]


def _italy(text: str) -> bool:
    values = [int(one) if one.isdigit() else ord(one) - ord("A") for one in text]
    odd = sum(ITALY_ODD[value] for value in values[0:15:2])
    return (odd + sum(values[1:15:2])) % 26 == values[15]


def _france(text: str) -> bool:
    digits = text.replace(" ", "")
    number = digits[:13].replace("2A", "19").replace("2B", "18")
    return 97 - int(number) % 97 == int(digits[13:])


def _belgium(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    number, check = int(digits[:9]), int(digits[9:])
    return check in (97 - number % 97, 97 - (2_000_000_000 + number) % 97)


def _sweden(text: str) -> bool:
    digits = re.sub(r"\D", "", text)[-10:]
    return _is_date(2000, int(digits[2:4]), int(digits[4:6])) and luhn(digits)


def _finland(text: str) -> bool:
    digits = text[:6] + text[7:10]
    is_date = _is_date(2000, int(text[2:4]), int(text[:2]))
    return is_date and HETU_CHARACTERS[int(digits) % 31] == text[10]


def _brazil(text: str) -> bool:
    digits = [int(one) for one in text if one.isdigit()]
    checks = []
    for length in (9, 10):
        rest = sum(digit * (length + 1 - place) for place, digit in enumerate(digits[:length])) * 10 % 11
        checks.append(rest % 10)
    return checks == digits[9:] and len(set(digits)) > 1


def _china(text: str) -> bool:
    is_date = _is_date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    total = sum(int(digit) * weight for digit, weight in zip(text[:17], CHINA_WEIGHTS, strict=True))
    return is_date and "10X98765432"[total % 11] == text[17]


FORMS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    (r"[XYZ]\d{7}-?[A-Z]|\d{8}-?[A-Z]", _spain),
    (r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", _italy),
    (r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", _france),
    (r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", _belgium),
    (r"(?:19|20)?\d{6}[-+]\d{4}", _sweden),
    (r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", _finland),
    (r"\d{3}\.\d{3}\.\d{3}-\d{2}", _brazil),
    (r"[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dX]", _china),
)
HINT = "|".join(form for form, _ in FORMS)
# One group per form. A number may not be part of a longer one or of a word.
PATTERN = re.compile(
    r"(?<![\w.+-])(?:" + "|".join(f"({form})" for form, _ in FORMS) + r")(?![\w-]|\.\d)", re.IGNORECASE | re.ASCII
)


def is_national_id(found: re.Match[str]) -> bool:
    """Whether a match of `PATTERN` has the check digit of one of the forms that fit it."""
    text = found.group().upper()
    return any(re.fullmatch(form, text, re.ASCII) and check(text) for form, check in FORMS)

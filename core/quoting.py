"""Shorten and escape untrusted names for sentences, log lines and terminals."""

LONGEST = 120


def quote_untrusted(name: object) -> str:
    """A name in quotes, without control characters, lone surrogates or marks that turn text round, and not too long."""
    text = ascii(name)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"

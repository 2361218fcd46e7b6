"""Names that come from strangers, made fit for a sentence, a log line and a terminal.

It owns how such a name is shown; it must not judge whether the name is allowed.
"""

LONGEST = 120


def quote_untrusted(name: object) -> str:
    """A name in quotes, without control characters, lone surrogates or marks that turn text round, and not too long."""
    text = ascii(name)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"

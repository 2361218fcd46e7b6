"""Text from elsewhere as one line."""


def one_line(text: str) -> str:
    """Text of users and errors as one line, so that it cannot pass for a line of ours."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())

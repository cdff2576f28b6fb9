"""The exceptions that a person at the keyboard sees: a line that says what is wrong and what to do."""


class UserError(Exception):
    """A mistake that the user can correct. The message is one line: what is wrong, where, and what to do."""

    status = 2  # of the command that it ends


class PassingTrouble(UserError):
    """A trouble that may be gone the next time, such as a full disk or a folder that another process uses."""

    status = 3


def printable(text: object) -> str:
    """``text`` on one line, without control characters: safe for any terminal, log and JSON file."""
    joined = " ".join(str(text).split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in joined)

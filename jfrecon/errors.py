"""The one error that is the user's to fix."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user gave us is wrong; the message is one line that names it and the remedy.

    Commands print the message without a traceback and exit with code 2 (`jfrecon.commands.run`).
    """

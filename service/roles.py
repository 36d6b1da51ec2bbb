"""What the holder of a token may do: `view` reads, `send` also streams in by WHIP, `manage` does everything."""

from enum import IntEnum
from typing import Literal, cast

from models.errors import UserError

RoleName = Literal["view", "send", "manage"]


class Role(IntEnum):
    """Order the roles: each may do what those below it may."""

    VIEW = 1  # read pages, streams, previews and figures
    SEND = 2  # also open sessions by WHIP, and mark, close and erase those
    MANAGE = 3  # also open sources on the server's side, and change any session

    @property
    def label(self) -> RoleName:
        """Return the role's name as settings and answers write it."""
        return cast(RoleName, self.name.lower())


NAMES = ", ".join(role.label for role in Role)


class RoleNeeded(UserError):
    """Report a request that the role of its token does not allow (HTTP 403)."""


def parse_token(entry: str) -> tuple[str, Role]:
    """Return token and role of `ROLE:TOKEN`. Raise `UserError`, which does not show the entry, for any other text."""
    name, colon, token = entry.partition(":")
    role = Role.__members__.get(name.strip().upper())
    if role is None or not colon or not token.strip():
        raise UserError(f"an entry is not ROLE:TOKEN; ROLE is one of {NAMES}, and TOKEN is not empty")
    return token.strip(), role

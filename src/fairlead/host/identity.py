"""Users and groups of the host, by name or number."""

import grp
import os
import pwd
from typing import NamedTuple

from fairlead.errors import InputError


class Account(NamedTuple):
    """Whom processes run as; `groups` are all of the user's, the main one included."""

    user: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def find_account(user: str, group: str | None) -> Account:
    """The account of a user's name or number, with `group` in place of the user's own. InputError when there is none."""
    entry = _user(user)
    gid = entry.pw_gid if group is None else _group(group)
    groups = tuple(os.getgrouplist(entry.pw_name, gid))
    return Account(entry.pw_name, entry.pw_uid, gid, groups, entry.pw_dir or "/")


def account_to_become(user: str | None, group: str | None, uid: int | None = None) -> Account | None:
    """Whom to change to: None to stay who we are. InputError when that cannot be done.

    Only root can become somebody else; others may name themselves, so that one configuration serves both.
    """
    uid = os.geteuid() if uid is None else uid
    if user is None:
        return None
    account = find_account(user, group)
    if uid == 0:
        return account
    if account.uid != uid:
        raise InputError(
            f"cannot run as app.user {user!r}: only root can, and this is uid {uid}; allowed: no app.user, or this one"
        )
    if group is not None and account.gid not in (os.getegid(), *os.getgroups()):
        raise InputError(f"cannot run as app.group {group!r}: this user is not in it")
    return None


def _user(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, ValueError, OverflowError):
        raise InputError(f"cannot run as app.user {user!r}: there is no such user on this host") from None


def _group(group: str) -> int:
    try:
        return grp.getgrgid(int(group)).gr_gid if group.isdecimal() else grp.getgrnam(group).gr_gid
    except (KeyError, ValueError, OverflowError):
        raise InputError(f"cannot run as app.group {group!r}: there is no such group on this host") from None

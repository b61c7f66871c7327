import grp
import os
import pwd

import pytest

from fairlead.errors import InputError
from fairlead.host.identity import account_to_become, find_account


def test_account_is_found_by_name_and_by_number():
    root = find_account("root", None)
    assert (root.user, root.uid, root.gid, root.home) == ("root", 0, 0, pwd.getpwuid(0).pw_dir)
    assert 0 in root.groups
    assert find_account("0", None) == root


def test_group_takes_the_place_of_the_users_own():
    other = next(entry for entry in grp.getgrall() if entry.gr_gid != 0)
    account = find_account("root", other.gr_name)
    assert account.gid == other.gr_gid
    assert other.gr_gid in account.groups
    assert find_account("root", str(other.gr_gid)) == account


@pytest.mark.parametrize("user", ["no-such-user", "4000000123", "9" * 30, "9" * 5000])
def test_unknown_user_is_told(user):
    with pytest.raises(InputError, match=r"cannot run as app.user .*: there is no such user on this host"):
        find_account(user, None)


@pytest.mark.parametrize("group", ["no-such-group", "4000000123", "9" * 30])
def test_unknown_group_is_told(group):
    with pytest.raises(InputError, match=r"cannot run as app.group .*: there is no such group on this host"):
        find_account("root", group)


def test_nobody_is_become_without_a_user():
    assert account_to_become(None, None, uid=0) is None


def test_root_becomes_the_user():
    assert account_to_become("root", None, uid=0) == find_account("root", None)


def test_others_may_only_name_themselves():
    with pytest.raises(InputError, match=r"cannot run as app.user 'root': only root can, and this is uid 1234"):
        account_to_become("root", None, uid=1234)
    stranger = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)
    assert account_to_become(stranger.pw_name, None, uid=stranger.pw_uid) is None


def test_others_may_only_name_a_group_they_are_in():
    stranger = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)
    foreign = next(entry for entry in grp.getgrall() if entry.gr_gid not in (os.getegid(), *os.getgroups()))
    with pytest.raises(InputError, match=r"cannot run as app.group .*: this user is not in it"):
        account_to_become(stranger.pw_name, foreign.gr_name, uid=stranger.pw_uid)

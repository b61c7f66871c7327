"""The instance's lock: who cannot have it is told why."""

import os

import pytest

from fairlead.errors import FairleadError
from fairlead.host.lock import take_lock


def test_lock_that_cannot_be_opened_is_told_with_its_path(tmp_path):
    path = tmp_path / "missing" / "shop.lock"
    with pytest.raises(FairleadError, match=f"cannot use the lock {path}: No such file or directory"):
        take_lock(str(path), "shop")


def test_second_holder_is_told_the_name_and_pid_of_the_first(tmp_path):
    path = str(tmp_path / "shop.lock")
    descriptor = take_lock(path, "shop")
    try:
        with pytest.raises(FairleadError, match=rf"'shop' already runs \(pid {os.getpid()}\)"):
            take_lock(path, "shop")
    finally:
        os.close(descriptor)

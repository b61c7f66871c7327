"""A unix socket in a folder that is closed to us: its permissions are named, ports are not."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from fairlead.host.sockets import listen_unix
os.setuid(65534)
listen_unix(sys.argv[1], 0o660, 5)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_unix_socket_in_a_closed_folder_is_denied_without_a_word_about_ports(tmp_path):
    path = str(tmp_path / "shop.sock")
    ended = subprocess.run([sys.executable, "-c", PROGRAM, path], capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1].endswith(f"cannot listen on unix:{path}: permission denied")

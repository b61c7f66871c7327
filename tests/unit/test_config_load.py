import functools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config.layers import nested
from fairlead.config.leaves import all_leaves
from fairlead.config.load import load
from fairlead.config.settings import Settings
from fairlead.config.texts import from_text
from fairlead.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """A working folder; call it with TOML, variables and flags to load them."""

    def load_here(toml="", flags=None, **environ):
        (tmp_path / "fairlead.toml").write_text(toml)
        return load(tmp_path, environ, flags or {})

    load_here.path = tmp_path
    return load_here


def problems(folder, toml="", flags=None, **environ):
    with pytest.raises(InputError) as caught:
        folder(toml, flags, **environ)
    first, *lines = str(caught.value).split("\n  ")
    assert first == "cannot use the configuration:"
    return lines


def port_flag(value):
    return {"--port": (("http", "port"), value)}


def test_defaults_hold_without_a_file(tmp_path):
    loaded = load(tmp_path, {}, {})
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.folder == tmp_path


def test_environment_is_over_file_and_flags_are_over_both(folder):
    toml = "[http]\nport = 1\nbacklog = 11\nws_max_queue = 111\n"
    loaded = folder(toml, port_flag(3), FAIRLEAD_HTTP_PORT="2", FAIRLEAD_HTTP_BACKLOG="22")
    http = loaded.settings.http
    assert (http.port, http.backlog, http.ws_max_queue) == (3, 22, 111)
    assert loaded.origins["http", "port"] == "--port"
    assert loaded.origins["http", "backlog"] == "FAIRLEAD_HTTP_BACKLOG"
    assert loaded.origins["http", "ws_max_queue"] == "fairlead.toml:4"
    assert loaded.origins["http", "protocol"] == "default"


def test_flag_that_was_not_given_changes_nothing(folder):
    assert folder("[http]\nport = 1\n", port_flag(None)).settings.http.port == 1


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("FAIRLEAD_RESTARTS_HANG_TIMEOUT", "10s", ("restarts", "hang_timeout"), 10.0),
        ("FAIRLEAD_RESTARTS_IDLE_GRACE", "", ("restarts", "idle_grace"), None),
        ("FAIRLEAD_HTTP_WS_MAX_SIZE", "1MB", ("http", "ws_max_size"), 10**6),
        ("FAIRLEAD_HTTP_BIND", "127.0.0.1:1, [::1]:2", ("http", "bind"), ["127.0.0.1:1", "[::1]:2"]),
        ("FAIRLEAD_HTTP_BIND", '["127.0.0.1:1"]', ("http", "bind"), ["127.0.0.1:1"]),
        ("FAIRLEAD_HTTP_BIND", "['127.0.0.1:1',]", ("http", "bind"), ["127.0.0.1:1"]),
        ("FAIRLEAD_HTTP_HEADERS", '{"X-A": "b"}', ("http", "headers"), {"X-A": "b"}),
        ("FAIRLEAD_HTTP_HEADERS", '{ X-A = "b" }', ("http", "headers"), {"X-A": "b"}),
        ("FAIRLEAD_LOG_ACCESS", "off", ("log", "access"), False),
        ("FAIRLEAD_LOG_ACCESS", "TRUE", ("log", "access"), True),
        ("FAIRLEAD_REPLICATION_WORKERS", "3", ("replication", "workers"), 3),
        ("FAIRLEAD_REPLICATION_WORKERS", "auto", ("replication", "workers"), "auto"),
        ("FAIRLEAD_APP_NAME", "8000", ("app", "name"), "8000"),
        ("FAIRLEAD_APP_USER", "", ("app", "user"), None),
    ],
)
def test_variable_is_read_as_its_setting_needs_it(folder, name, text, key, value):
    loaded = folder("", **{name: text})
    assert getattr(getattr(loaded.settings, key[0]), key[1]) == value
    assert loaded.origins[key] == name


@given(st.sampled_from(list(all_leaves().values())), st.text())
def test_text_of_any_variable_is_a_value_or_a_told_problem(leaf, text):
    try:
        settings = Settings.model_validate(nested({leaf.key: from_text(leaf, text)}))
    except ValueError as error:
        told = str(error)
    else:
        told = leaf.written(functools.reduce(getattr, leaf.key, settings)) + leaf.key[-1]
    assert leaf.key[-1] in told


WRONG = """\
workers = 4
[http]
prot = 1
port = 70000
unix_mode = 660
headers = { Y = 3 }
[restarts]
hang_timeout = "10 parsecs"
drain_timeout = true
[replication]
workers = true
[log]
format = "yaml"
level = ["info"]
[htp]
a = 1
"""


def test_all_errors_are_told_at_once_with_place_key_value_and_what_is_allowed(folder):
    lines = problems(
        folder, WRONG, port_flag(99999), FAIRLEAD_HTTP_BACKLOG="x", FAIRLEAD_LOG_ACCESS="maybe", FAIRLEAD_HTTP_PROT="1"
    )
    duration = "allowed: a duration such as 250ms, 30s, 10m or 1h30m, or a number of seconds"
    assert sorted(lines) == sorted(
        [
            "fairlead.toml:1: workers: no such table; did you mean replication.workers?",
            "fairlead.toml:3: http.prot: no such key; did you mean port?",
            "fairlead.toml:4: http.port = 70000: allowed: a whole number from 0 to 65535",
            'fairlead.toml:5: http.unix_mode = 660: allowed: an octal mode in quotes, such as "0660"',
            "fairlead.toml:6: http.headers.Y = 3: allowed: text",
            f'fairlead.toml:8: restarts.hang_timeout = "10 parsecs": {duration}',
            f"fairlead.toml:9: restarts.drain_timeout = true: {duration}",
            'fairlead.toml:11: replication.workers = true: allowed: a whole number from 1 to 512, "auto" or { min = 1, max = "auto", target = "70%" }',
            'fairlead.toml:13: log.format = "yaml": allowed: "auto", "text" or "json"',
            'fairlead.toml:14: log.level = ["info"]: allowed: "debug", "info", "warning" or "error"',
            "fairlead.toml:15: htp: no such table; did you mean http?",
            "FAIRLEAD_HTTP_PROT: no such setting; did you mean FAIRLEAD_HTTP_PORT?",
            'FAIRLEAD_HTTP_BACKLOG: http.backlog = "x": allowed: a whole number from 1 to 65535',
            'FAIRLEAD_LOG_ACCESS: log.access = "maybe": allowed: true or false',
            "--port: http.port = 99999: allowed: a whole number from 0 to 65535",
        ]
    )


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("http = 3", "fairlead.toml:1: http = 3: allowed: a table"),
        ("[[http]]\nport = 1", "fairlead.toml:1: http: allowed: a table"),
        ("[http]\nworkers = 3", "fairlead.toml:2: http.workers: no such key; did you mean replication.workers?"),
        ("[http]\nqqqqqq = 3", "fairlead.toml:2: http.qqqqqq: no such key"),
        ("qqqqqq = 3", "fairlead.toml:1: qqqqqq: no such table"),
        ('[http]\nport = "8000"', 'fairlead.toml:2: http.port = "8000": allowed: a whole number from 0 to 65535'),
        ("[http]\nport = true", "fairlead.toml:2: http.port = true: allowed: a whole number from 0 to 65535"),
        ('[log]\naccess = "yes"', 'fairlead.toml:2: log.access = "yes": allowed: true or false'),
        ('[app]\nname = "a b"', "letters, digits, dots, dashes and underscores; the first a letter or digit"),
        ('[app]\nname = "../x"', "letters, digits, dots, dashes and underscores; the first a letter or digit"),
        ('[app]\ndir = ""', 'fairlead.toml:2: app.dir = "": allowed: the path of a folder'),
        ('[app]\nuser = ""', 'fairlead.toml:2: app.user = "": allowed: the name or number of a user'),
        (
            '[app]\ngroup = "web"',
            "fairlead.toml:2: app.group is set and app.user is not; allowed: both, or app.user alone",
        ),
        ('[startup]\nprobe = "healthz"', 'startup.probe = "healthz": allowed: a path such as "/healthz"'),
        ("[startup]\nimport_timeout = 0", "startup.import_timeout = 0: allowed: a duration above 0 such as"),
        ('[http]\nhost = "localhost:80"', "allowed: an address or a host name, without brackets and port"),
        ('[http]\nhost = "[::1]"', "allowed: an address or a host name, without brackets and port"),
        ('[http]\nbind = "127.0.0.1:1"', 'http.bind = "127.0.0.1:1": allowed: a list of '),
        ('[http]\nbind = ["x"]', "fairlead.toml:2: http.bind[0] = \"x\": 'x' is no place to listen; allowed: "),
        ('[http]\nbind = ["fd:3", "fd:3"]', "fairlead.toml:2: http.bind names fd:3 twice"),
        ('[http]\nheaders = { "X A" = "b" }', "'X A' is no header name; allowed: letters, digits and dashes"),
        ('[http]\nheaders = { X = "a\\r\\nb" }', "is no value for the header X; allowed: printable ASCII text"),
        (
            "[restarts]\nbackoff_max = 0.1",
            "restarts.backoff_max = 0.1s: allowed: at least restarts.backoff_initial, 0.5s",
        ),
    ],
)
def test_value_that_cannot_be_used_is_named(folder, toml, line):
    (told,) = problems(folder, toml)
    assert line in told


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "::1", "fe80::1%eth0", "::ffff:127.0.0.1", "localhost", "a-b.example"]
)
def test_host_can_be_an_address_or_a_name(folder, host):
    assert folder(f'[http]\nhost = "{host}"').settings.http.host == host


def test_long_value_is_cut_in_its_message(folder):
    (line,) = problems(folder, f'[log]\nformat = "{"x" * 1000}"')
    assert len(line) < 200


def test_bind_and_port_in_one_source_are_refused(folder):
    (line,) = problems(folder, '[http]\nbind = ["127.0.0.1:1"]\nport = 2\n')
    assert line.startswith("fairlead.toml:3: http.port and http.bind (fairlead.toml:2) exclude each other")


def test_stronger_source_decides_between_bind_and_port_and_it_is_said(folder):
    loaded = folder('[http]\nbind = ["127.0.0.1:1"]\n', port_flag(9000))
    assert loaded.settings.http.bind == []
    assert loaded.settings.http.port == 9000
    assert loaded.notes == ("http.bind (fairlead.toml:2) is not used: --port comes before it",)


def test_bind_of_a_stronger_source_puts_host_and_port_aside(folder):
    loaded = folder('[http]\nhost = "::1"\nport = 1\n', FAIRLEAD_HTTP_BIND="127.0.0.1:2")
    assert (loaded.settings.http.host, loaded.settings.http.port) == ("127.0.0.1", 8000)
    assert loaded.settings.http.bind == ["127.0.0.1:2"]
    assert len(loaded.notes) == 2


def test_value_without_effect_is_said(folder):
    loaded = folder('[startup]\nprobe_timeout = "3s"\n[log]\naccess = false\naccess_file = "a.log"\n')
    assert loaded.notes == (
        "startup.probe_timeout (fairlead.toml:2) has no effect: startup.probe is not set",
        "log.access_file (fairlead.toml:5) has no effect: log.access is false",
    )


def test_value_for_certificates_of_another_kind_is_said(folder):
    loaded = folder('[https]\nmode = "internal"\nemail = "a@b.test"\ndns = { provider = "command", present = ["x"] }\n')
    assert loaded.notes == (
        'https.email (fairlead.toml:3) has no effect: https.mode is not "acme"',
        'https.dns (fairlead.toml:4) has no effect: https.mode is not "acme"',
    )
    loaded = folder('[https]\nleaf_lifetime = "1d"\n[https.hsts]\nmax_age = "365d"\n')
    assert loaded.notes == (
        'https.leaf_lifetime (fairlead.toml:2) has no effect: https.mode is not "internal"',
        "https.hsts (fairlead.toml:3) has no effect: HTTPS is off",
    )


def test_relative_paths_count_from_the_file_and_from_the_working_folder_otherwise(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "etc/shop.toml").write_text('[log]\nfile = "shop.log"\n[http]\nbind = ["unix:shop.sock", "fd:3"]\n')
    environ = {"FAIRLEAD_LOG_ACCESS_FILE": "access.log", "FAIRLEAD_CONFIG": "../etc/shop.toml"}
    loaded = load(tmp_path / "here", environ, {"--app-dir": (("app", "dir"), "src")})
    settings = loaded.settings
    assert settings.log.file == str(tmp_path / "here/../etc/shop.log")
    assert settings.http.bind == [f"unix:{tmp_path}/here/../etc/shop.sock", "fd:3"]
    assert settings.log.access_file == str(tmp_path / "here/access.log")
    assert settings.app.dir == str(tmp_path / "here/src")


@pytest.mark.parametrize(
    "name",
    [
        "FAIRLEAD_RUNTIME_DIR",
        "FAIRLEAD_SERVICE_HOST",
        "FAIRLEAD_SERVICE_PORT_HTTP",
        "FAIRLEAD_PORT",
        "FAIRLEAD_PORT_8000_TCP",
        "FAIRLEAD_PORT_8000_TCP_ADDR",
    ],
)
def test_variables_that_are_no_settings_are_left_alone(folder, name):
    assert folder("", **{name: "tcp://10.0.0.1:8000"}).settings == Settings()


def test_every_setting_can_be_written_as_it_is_shown(folder):
    tables = {}
    for leaf in all_leaves().values():
        if leaf.default is not None and leaf.key not in (
            ("http", "host"),
            ("http", "port"),
            ("steps",),
            ("companions",),
        ):
            tables.setdefault(leaf.key[0], []).append(f"{leaf.key[1]} = {leaf.written(leaf.default)}\n")
    loaded = folder("".join(f"[{table}]\n{''.join(lines)}" for table, lines in tables.items()))
    assert loaded.settings == Settings()


def test_every_setting_is_described_and_says_what_is_allowed():
    for leaf in all_leaves().values():
        assert leaf.description.endswith("."), leaf.dotted
        assert leaf.allowed, leaf.dotted
    assert len({leaf.variable for leaf in all_leaves().values()}) == len(all_leaves())


def test_json_schema_is_json():
    from fairlead.cli.config import json_schema

    schema = json.loads(json.dumps(json_schema()))
    assert set(schema["properties"]) == set(Settings.model_fields)


def test_port_of_the_platform_is_the_weakest_of_all(folder):
    loaded = folder(PORT="8080")
    assert (loaded.settings.http.port, loaded.origins["http", "port"]) == (8080, "PORT")
    loaded = folder("[http]\nport = 9000\n", PORT="8080")
    assert (loaded.settings.http.port, loaded.notes) == (9000, ())
    assert problems(folder, PORT="tcp://10.0.0.1:80")[0].startswith("PORT: http.port = ")


def test_port_of_the_platform_that_is_put_aside_by_bind_is_said(folder):
    loaded = folder('[http]\nbind = ["unix:/run/a.sock"]\n', PORT="8080")
    assert loaded.notes[0].startswith("http.port (PORT) is not used: fairlead.toml:2 comes before it")


def test_mistake_in_a_table_that_could_be_something_else_is_one_error(tmp_path):
    (tmp_path / "fairlead.toml").write_text("[replication]\nworkers = { min = 0 }\n")
    with pytest.raises(InputError) as caught:
        load(tmp_path, {}, {})
    [_head, line] = str(caught.value).splitlines()
    assert "replication.workers.min = 0: allowed: a whole number from 1 to 512" in line

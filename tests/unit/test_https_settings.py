"""The `[https]` table: what it accepts, what it refuses, and the plan it becomes."""

from typing import Any

import pytest
from pydantic import ValidationError

from fairlead.https.model import CertificatePlan, HttpsPlan, from_json, to_json
from fairlead.https.settings import HttpsSettings, parse_name

DNS = {"provider": "rfc2136", "server": "192.0.2.53", "key_name": "k", "key_secret": "c2VjcmV0"}


def settings(**values: Any) -> HttpsSettings:
    return HttpsSettings.model_validate(values)


def plan(**values: Any) -> HttpsPlan:
    return settings(**values).plan("/var/lib/x/https")


def test_nothing_said_is_plain_http() -> None:
    assert settings().resolved_mode == "off"
    assert plan().certificates == ()


def test_domains_alone_mean_acme_with_a_certificate_each() -> None:
    found = plan(domains=["Example.COM.", "www.example.com"], agree_tos=True)
    assert found.certificates == (
        CertificatePlan("acme", ("example.com",)),
        CertificatePlan("acme", ("www.example.com",)),
    )
    assert [issuer.name for issuer in found.issuers] == ["letsencrypt"]
    assert found.issuers[0].staging_url.startswith("https://acme-staging")
    assert (found.store, found.tls.default_name, found.challenge) == ("/var/lib/x/https", "example.com", "http-01")


def test_list_among_domains_is_one_certificate() -> None:
    found = plan(domains=[["a.test", "b.test"], "c.test"], mode="internal")
    assert [certificate.names for certificate in found.certificates] == [("a.test", "b.test"), ("c.test",)]
    assert found.issuers == ()


def test_clients_that_send_no_name_get_the_address_when_there_is_one() -> None:
    assert plan(domains=["a.test", "192.0.2.1"], mode="internal").tls.default_name == "192.0.2.1"
    assert plan(domains=["a.test"], mode="internal", default_name="").tls.default_name == ""


def test_internal_without_names_is_https_for_this_machine() -> None:
    found = plan(mode="internal")
    assert found.certificates == (CertificatePlan("internal", ("localhost", "127.0.0.1", "::1")),)
    assert (found.https_port, found.http_port) == (8443, 8080)
    assert plan(mode="internal", domains=["erp.internal"]).https_port == 443


def test_files_are_plans_of_their_own() -> None:
    found = plan(files=[{"certificate": "/c.pem", "key": "/k.pem", "names": ["a.test"]}])
    assert found.certificates == (CertificatePlan("files", ("a.test",), "/c.pem", "/k.pem"),)
    assert found.tls.default_name == "*"


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"domains": ["a.test"]}, "agree_tos must be true"),
        ({"mode": "acme", "agree_tos": True}, "mode acme needs domains"),
        ({"mode": "files"}, "mode files needs files"),
        ({"mode": "internal", "domains": ["a.test", "b.test", "A.test."]}, "domains names a.test twice"),
        ({"mode": "internal", "domains": ["192.0.2.300"]}, "'192.0.2.300' is no name; allowed: example.com"),
        ({"mode": "internal", "domains": ["*.192.0.2.1"]}, r"'\*.192.0.2.1' is no name"),
        ({"mode": "internal", "domains": ["fe80::1%eth0"]}, "an address with a zone is this machine's alone"),
        ({"mode": "internal", "leaf_lifetime": 0}, "greater than or equal to 10"),
        ({"timeout": 0}, "greater than 0"),
        ({"hsts": {"preload": True}}, "preload need max_age"),
        (
            {"domains": ["a.test", "192.0.2.1"], "agree_tos": True, "http": "off", "dns": DNS},
            "192.0.2.1: an address has no DNS records, so it needs challenge http-01 and plain HTTP",
        ),
        ({"domains": ["*.a.test"], "agree_tos": True}, r"'\*.a.test' needs challenge dns-01 and dns"),
        ({"domains": ["a.test"], "agree_tos": True, "challenge": "dns-01"}, "challenge dns-01 needs dns"),
        ({"domains": ["a.test"], "agree_tos": True, "http": "off"}, "http-01 needs plain HTTP"),
        ({"domains": ["a b.test"], "mode": "internal"}, "'a b.test' is no name; allowed: example.com"),
        ({"domains": ["bücher.test"], "mode": "internal"}, "xn-- form"),
        ({"domains": [[]], "mode": "internal"}, "at least 1 item"),
        ({"https_port": 80, "mode": "internal", "domains": ["a.test"]}, "http_port and https_port are the same"),
        ({"client_certificates": "required"}, "client_certificates and client_ca belong together"),
        ({"tls": "modern", "min_version": "1.2"}, "tls modern has no TLS 1.2"),
        ({"domains": ["a.test"], "mode": "internal", "default_name": "b.test"}, "'b.test' is not in domains"),
        ({"issuers": ["letsencypt"]}, "issuer 'letsencypt' is not known; allowed: letsencrypt, "),
        ({"issuers": ["zerossl"]}, "zerossl needs eab_key_id and eab_hmac_key"),
        ({"issuers": [{"directory_url": "http://ca.test/dir"}]}, "should match pattern"),
        ({"issuers": []}, "at least 1 item"),
        ({"dns": {"provider": "rfc2136"}}, "provider rfc2136 needs server, key_name and key_secret"),
        ({"dns": {"provider": "command"}}, "provider command needs present"),
        (
            {"dns": {**DNS, "nameservers": ["ns.test"]}},
            "'ns.test' is no name server; allowed: an address, or address:port",
        ),
        ({"email": "nobody"}, "should match pattern"),
        ({"domain": ["a.test"]}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_work_is_refused_with_its_cause(values: dict[str, Any], cause: str) -> None:
    with pytest.raises(ValidationError, match=cause):
        settings(**values)


def test_all_problems_are_said_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        settings(domains=["*.a.test", "*.a.test"], https_port=80)
    for cause in ("domains names *.a.test twice", "are the same", "agree_tos", "dns-01"):
        assert cause in str(caught.value)


def test_dns_settings_mean_dns_01() -> None:
    found = plan(domains=["*.a.test"], agree_tos=True, dns=DNS, http="off")
    assert (found.challenge, found.dns.key_secret, found.dns.propagation_wait) == ("dns-01", "c2VjcmV0", 0.0)


def test_name_servers_have_an_address_and_may_have_a_port() -> None:
    servers = ["192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353"]
    found = plan(domains=["a.test"], agree_tos=True, dns={**DNS, "nameservers": servers})
    address, six = "192.0.2.1", "2001:db8::1"
    assert found.dns.nameservers == ((address, 53), (address, 5353), (six, 53), (six, 5353))


def test_own_directory_under_a_known_name_has_no_staging_of_the_known_one() -> None:
    found = plan(
        domains=["a.test"],
        agree_tos=True,
        issuers=[
            {"name": "letsencrypt", "directory_url": "https://ca.test/dir"},
            {"directory_url": "https://b.test/d"},
        ],
    )
    assert [(issuer.name, issuer.staging_url) for issuer in found.issuers] == [("letsencrypt", ""), ("b.test", "")]


def test_secrets_do_not_show() -> None:
    found = settings(
        domains=["a.test"],
        agree_tos=True,
        dns=DNS,
        issuers=[{"name": "zerossl", "eab_key_id": "kid", "eab_hmac_key": "aG1hYw"}],
    )
    for text in (repr(found), found.model_dump_json(), repr(found.plan(""))):
        assert "c2VjcmV0" not in text
        assert "aG1hYw" not in text
    assert found.plan("").issuers[0].eab_hmac_key == "aG1hYw"


def test_hsts_is_sent_only_when_asked_for() -> None:
    assert plan().tls.hsts == ""
    hsts = {"max_age": "365d", "include_subdomains": True, "preload": True}
    assert plan(hsts=hsts).tls.hsts == "max-age=31536000; includeSubDomains; preload"


def test_plan_travels_as_json() -> None:
    found = plan(domains=[["a.test", "b.test"], "192.0.2.1"], agree_tos=True, dns=DNS, hook=["/bin/true"])
    assert from_json(HttpsPlan, to_json(found)) == found


@pytest.mark.parametrize(
    ("text", "name"), [("[2001:DB8::1]", "2001:db8::1"), ("2001:db8:0::1", "2001:db8::1"), ("A.Test.", "a.test")]
)
def test_names_are_spelt_as_certificates_spell_them(text: str, name: str) -> None:
    assert parse_name(text) == name


def test_certificates_keep_their_place_in_the_store_while_their_names_stay() -> None:
    keys = [
        CertificatePlan("acme", names).key for names in [("a.test",), ("*.a.test",), ("::1",), ("a.test", "b.test")]
    ]
    assert keys[:3] == ["acme/a.test", "acme/_wildcard.a.test", "acme/__1"]
    assert keys[3].startswith("acme/a.test+1-")
    assert CertificatePlan("files", ("x",), "/c", "/k").key == CertificatePlan("files", (), "/c", "/k").key

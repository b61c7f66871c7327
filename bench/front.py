"""A proxy in front of a server: `front.py PROXY BIN PORT CERTIFICATE KEY FOLDER COMMAND…`. Standard library only.

CERTIFICATE and KEY are `-` for plain HTTP. COMMAND is given `--host 127.0.0.1 --port N`. Ends when told to, or with either of the
two. What the proxies are told is what `configuration` returns; docs/reference/peers.md shows it.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_NGINX = """\
daemon off; worker_processes auto; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream app {{ server 127.0.0.1:{upstream}; keepalive 128; }}
  server {{
    listen 127.0.0.1:{port}{tls}; keepalive_requests 1000000;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"""
_NGINX_TLS = """ ssl;
    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:ssl:10m; ssl_prefer_server_ciphers off"""
_HAPROXY = """\
global
  maxconn 4096
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  option forwardfor
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend web
  bind 127.0.0.1:{port}{tls}
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  default_backend app
backend app
  server app 127.0.0.1:{upstream}
"""
_HAPROXY_TLS = " ssl crt {folder}/pair.pem"
_CADDY = """\
{{
  admin off
  auto_https off
}}
:{port} {{
  bind 127.0.0.1{tls}
  reverse_proxy 127.0.0.1:{upstream}
}}
"""
_CADDY_TLS = """
  tls {certificate} {key}"""
_TRAEFIK = """\
http:
  routers:
    app: {{ rule: "PathPrefix(`/`)", service: app, entryPoints: [web]{tls} }}
  services:
    app: {{ loadBalancer: {{ servers: [{{ url: "http://127.0.0.1:{upstream}" }}] }} }}
"""
_TEXTS = {
    "nginx": (_NGINX, _NGINX_TLS),
    "haproxy": (_HAPROXY, _HAPROXY_TLS),
    "caddy": (_CADDY, _CADDY_TLS),
    "traefik": (_TRAEFIK, ""),
}
_TRAEFIK_CERTIFICATES = 'tls:\n  certificates: [{{ certFile: "{certificate}", keyFile: "{key}" }}]\n'


def configuration(proxy: str, values: Mapping[str, object]) -> str:
    """The proxy's configuration file. `values`: port, upstream, folder, certificate and key (both `-`: plain HTTP)."""
    text, tls = _TEXTS[proxy]
    if values["certificate"] == "-":
        return text.format(**values, tls="")
    if proxy == "traefik":
        return (text + _TRAEFIK_CERTIFICATES).format(**values, tls=", tls: {}")
    return text.format(**values, tls=tls.format(**values))


def command(proxy: str, bin_folder: Path, config: Path, port: object) -> list[str]:
    """How the proxy is started with its configuration file."""
    if proxy == "nginx":
        return [shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(config.parent), "-c", str(config)]
    if proxy == "haproxy":
        return [shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-f", str(config)]
    if proxy == "caddy":
        return [shutil.which("caddy") or "/usr/bin/caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
    where = (f"--entryPoints.web.address=127.0.0.1:{port}", f"--providers.file.filename={config}")
    return [str(bin_folder / "traefik"), *where, "--log.level=ERROR", "--global.checkNewVersion=false"]


def main() -> int:
    """Runs both until one ends."""
    proxy, bin_folder, port, certificate, key, folder, *server = sys.argv[1:]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        upstream = probe.getsockname()[1]
    values = {"port": port, "certificate": certificate, "key": key, "folder": folder, "upstream": upstream}
    config = Path(folder) / ("traefik.yml" if proxy == "traefik" else f"{proxy}.conf")
    config.write_text(configuration(proxy, values))
    if proxy == "haproxy" and certificate != "-":
        (Path(folder) / "pair.pem").write_text(Path(certificate).read_text() + Path(key).read_text())
    front = command(proxy, Path(bin_folder), config, port)
    behind = ["--host", "127.0.0.1", "--port", str(upstream), "--no-access-log"]
    both = [subprocess.Popen([*server, *behind]), subprocess.Popen(front, env={**os.environ, "HOME": folder})]

    def leave(*_signal: object) -> None:
        for one in both:
            one.terminate()

    signal.signal(signal.SIGTERM, leave)
    while all(one.poll() is None for one in both):
        time.sleep(0.1)
    for one in both:
        one.terminate()
        one.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())

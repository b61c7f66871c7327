"""A proxy that ends TLS in front of a server: `front.py PROXY BIN PORT CERTIFICATE KEY FOLDER COMMAND…`. No dependencies.

COMMAND is given `--host 127.0.0.1 --port N`. Ends when told to, or with either of the two.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_NGINX = """\
daemon off; master_process on; worker_processes 2; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream app {{ server 127.0.0.1:{upstream}; keepalive 128; }}
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:ssl:10m; keepalive_requests 1000000;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto https;
    }}
  }}
}}
"""
_CADDY = """\
{{
  admin off
  auto_https off
}}
:{port} {{
  bind 127.0.0.1
  tls {certificate} {key}
  reverse_proxy 127.0.0.1:{upstream}
}}
"""
_TRAEFIK_DYNAMIC = {
    "http": {
        "routers": {"app": {"rule": "PathPrefix(`/`)", "service": "app", "entryPoints": ["web"], "tls": {}}},
        "services": {"app": {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:{upstream}"}]}}},
    },
    "tls": {"certificates": [{"certFile": "{certificate}", "keyFile": "{key}"}]},
}


def main() -> int:
    """Runs both until one ends."""
    proxy, bin_folder, port, certificate, key, folder, *server = sys.argv[1:]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        upstream = probe.getsockname()[1]
    values = {"port": port, "certificate": certificate, "key": key, "folder": folder, "upstream": upstream}
    command = _command(proxy, Path(bin_folder), Path(folder), values)
    behind = ["--host", "127.0.0.1", "--port", str(upstream), "--no-access-log"]
    both = [subprocess.Popen([*server, *behind]), subprocess.Popen(command, env={**os.environ, "HOME": folder})]
    signal.signal(signal.SIGTERM, lambda *_: [one.terminate() for one in both])
    while all(one.poll() is None for one in both):
        time.sleep(0.1)
    for one in both:
        one.terminate()
        one.wait()
    return 0


def _command(proxy: str, bin_folder: Path, folder: Path, values: dict[str, object]) -> list[str]:
    config = folder / f"{proxy}.conf"
    if proxy == "nginx":
        config.write_text(_NGINX.format(**values))
        return [shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(folder), "-c", str(config)]
    if proxy == "caddy":
        config.write_text(_CADDY.format(**values))
        return ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
    dynamic = json.dumps(_TRAEFIK_DYNAMIC)
    for name, value in values.items():
        dynamic = dynamic.replace(f"{{{name}}}", str(value))
    config = folder / "dynamic.yml"  # JSON is YAML, and Traefik goes by the name
    config.write_text(dynamic)
    program = str(bin_folder / "traefik")
    where = f"--entryPoints.web.address=127.0.0.1:{values['port']}"
    return [
        program,
        where,
        f"--providers.file.filename={config}",
        "--log.level=ERROR",
        "--global.checkNewVersion=false",
    ]


if __name__ == "__main__":
    sys.exit(main())

"""Docker Compose, and the part of the same file that Swarm reads."""

import json

from fairlead.targets import dockerfile
from fairlead.targets.model import Care, File, Site, Target, Who, memory_limit, stop_seconds

CARES = {
    "https": Care(Who.FAIRLEAD, "certificates are kept in the volume; or leave it to a proxy in front"),
    "startup": Care(Who.RENDERED, "restart policy, health check, grace period for the drain"),
    "restarts": Care(Who.FAIRLEAD, "of workers; the engine restarts the container"),
    "replication": Care(Who.FAIRLEAD, "workers follow the container's CPU limit; Swarm adds replicas of the container"),
    "memory": Care(Who.FAIRLEAD, "the container's limit is a tenth beyond a memory.budget that is a size"),
    "steps": Care(Who.FAIRLEAD, "once per container: with Swarm's replicas a step must bear to run in each"),
}


def render(site: Site) -> list[File]:
    """compose.yaml beside the Dockerfile's files."""
    name = site.plan.name
    ports = "".join(f'      - "{port}:{port}"\n' for port in dockerfile.ports_of(site))
    published = f"    ports:\n{ports}" if ports else ""
    grace = f"{stop_seconds(site.plan)}s"
    memory = memory_limit(site)
    reserved = "" if memory is None else f'      resources:\n        limits:\n          memory: "{memory}"\n'
    service = name.replace(".", "-")  # Swarm takes no dots
    text = f"""\
# Only `docker stack deploy` of engines before 25 asks for the version.
version: "3.8"

services:
  {service}:
    build: .
    image: {name.lower()}
    restart: unless-stopped
    stop_grace_period: {grace}
{published}    volumes:
      - "state:{dockerfile.state_of(site)}"
    read_only: true
    tmpfs:
      - /tmp
    cap_drop:
      - ALL
    security_opt:
      - "no-new-privileges:true"
    healthcheck:
      test: {json.dumps(["CMD", *dockerfile.health_check(site)])}
      interval: 10s
      timeout: 5s
      retries: 3
      start_period: {round(site.plan.startup.import_timeout)}s
    deploy:
      replicas: 1
{reserved}      update_config:
        order: start-first
        failure_action: rollback
      rollback_config:
        order: start-first
      restart_policy:
        condition: any

volumes:
  state: {{}}
"""
    return [File("compose.yaml", text), *dockerfile.render(site)]


TARGET = Target(
    "compose",
    "compose.yaml, with the Dockerfile that it builds",
    render,
    CARES,
    "docker compose up --build --detach; with Swarm: docker stack deploy -c compose.yaml STACK",
)

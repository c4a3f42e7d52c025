"""Checks the container files of this directory: python manifests.py

Kubernetes objects against the schemas of a real version, the compose file against its specification, and both against
what the daemons need: a stop must be given the time that it may take.
"""

import pathlib
import sys

import kubernetes_validate
import yaml
from compose_spec import ComposeSpecification

HERE = pathlib.Path(__file__).parent
KUBERNETES = "1.37"
# After the drain everything gets so many seconds to end: twice JOIN_TIMEOUT of libs/shared/daemon.
ENDING = 10
# Of the drain, when nothing is set.
DRAIN = 120
# The schema of a custom resource is not among those of Kubernetes: this much of it is used here.
POD_MONITOR = {"selector", "podMetricsEndpoints", "namespaceSelector", "jobLabel"}
ENDPOINT = {"port", "path", "interval", "scrapeTimeout", "authorization", "honorLabels"}

problems = []


def expect(condition, message):
    if not condition:
        problems.append(message)


def check_object(name, item):
    kind = item["kind"]
    if kind == "Kustomization":
        for resource in item["resources"]:
            expect((HERE / "kubernetes" / resource).is_file(), f"{name}: there is no {resource}")
    elif kind == "PodMonitor":
        expect(set(item["spec"]) <= POD_MONITOR, f"{name}: unknown keys in spec")
        for endpoint in item["spec"]["podMetricsEndpoints"]:
            expect(set(endpoint) <= ENDPOINT, f"{name}: unknown keys in an endpoint")
            expect(endpoint["path"] == "/metrics", f"{name}: metrics are at /metrics")
    else:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)


def check_workload(name, item):
    pod = item["spec"]["template"]
    wanted = item["spec"]["selector"]["matchLabels"].items()
    expect(wanted <= pod["metadata"]["labels"].items(), f"{name}: the selector misses its own pods")
    for container in pod["spec"]["containers"]:
        env = {entry["name"]: entry.get("value") for entry in container["env"]}
        ports = {port["containerPort"] for port in container["ports"]}
        for listens in (value for key, value in env.items() if key.endswith(("D_ADDR", "_METRICS_ADDR"))):
            expect(int(listens.rsplit(":", 1)[1]) in ports, f"{name}: listens on {listens}, which is no port of it")
        drain = next((int(value) for key, value in env.items() if key.endswith("_DRAIN_TIMEOUT_SECS")), DRAIN)
        grace = int(env.get("ORCHESTRATORD_SHUTDOWN_GRACE_MS", 0)) / 1000
        given = pod["spec"]["terminationGracePeriodSeconds"]
        expect(given >= drain + grace + ENDING, f"{name}: {given} s are less than a stop may take")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            path = container[probe]["httpGet"]["path"]
            # Every other route asks for the token.
            expect(path == "/health", f"{name}: {probe} asks {path}, which wants a token")
        security = container["securityContext"]
        expect(security["readOnlyRootFilesystem"], f"{name}: the root file system can be written")
        expect(security["capabilities"]["drop"] == ["ALL"], f"{name}: keeps capabilities")


def check_kubernetes():
    for path in sorted((HERE / "kubernetes").glob("*.yaml")):
        for item in yaml.safe_load_all(path.read_text()):
            name = f"{path.name}: {item['kind']}"
            try:
                check_object(name, item)
            except Exception as error:  # of several kinds, all of them the file's fault
                problems.append(f"{name}: {str(error).splitlines()[0]}")
            if item["kind"] in ("Deployment", "DaemonSet"):
                check_workload(name, item)


def check_compose():
    compose = yaml.safe_load((HERE / "docker/compose.yaml").read_text())
    ComposeSpecification.model_validate(compose)
    dockerfile = (HERE / "docker/Dockerfile").read_text()
    for name, service in compose["services"].items():
        if "build" not in service:
            continue
        expect(f" AS {service['build']['target']}\n" in dockerfile, f"compose: {name} has no target in the Dockerfile")
        given = int(service["stop_grace_period"].removesuffix("s"))
        expect(given >= DRAIN + ENDING, f"compose: {given} s are less than a stop of {name} may take")


check_kubernetes()
check_compose()
print("\n".join(problems) or "the manifests are right")
sys.exit(bool(problems))

"""deploy/kubernetes is held against Kubernetes' schemas, the settings, and the real processes."""

import json
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import kubernetes_validate  # type: ignore[import-untyped] # it has none
import pytest
from ruamel.yaml import YAML

from api.app import create_app
from api.server import ANSWER_GRACE
from tests.deploy.compose import REPOSITORY, compose
from tests.deploy.kustomize import Manifest, load_all, pods_of, render
from tests.deploy.test_compose import SECRETS
from tests.deploy.test_env_example import FROM_TEMPORAL, known_settings
from ticketing.settings import SettingsError, read_api_settings, read_worker_settings
from worker import GRACEFUL_SHUTDOWN

KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
OVERLAY = KUBERNETES / "overlays" / "production"
VERSIONS = ("1.32", "1.37")
"""The oldest and the newest Kubernetes that the manifests are for."""
GIVEN = {
    "MONGODB_URL": "mongodb://host/?replicaSet=rs",
    "JWT_KEYS": "j" * 32,
    "STRIPE_WEBHOOK_SECRET": "whsec_1",
    "OPERATOR_TOKEN": "o" * 32,
    "STRIPE_API_KEY": "sk_test_1",
    "TEMPORAL_API_KEY": "temporal",
}
NOT_KUBERNETES = {"ScaledObject", "Gateway", "HTTPRoute"}
"""Of KEDA and of the Gateway API, whose schemas no package carries."""


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return render(OVERLAY)


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in known_settings() | FROM_TEMPORAL:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def container_of(manifests: list[Manifest], component: str) -> Manifest:
    found: list[Manifest] = [
        container
        for _, pod in pods_of(manifests)
        for container in pod["spec"]["containers"]
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]
    assert len(found) == 1
    return found[0]


def environment_of(manifests: list[Manifest], component: str) -> dict[str, str]:
    """What the component's process would see, with every secret given."""
    data = {found["metadata"]["name"]: found["data"] for found in of_kind(manifests, "ConfigMap")}
    container = container_of(manifests, component)
    environment: dict[str, str] = {}
    for source in container["envFrom"]:
        environment |= data[source["configMapRef"]["name"]]
    for variable in container["env"]:
        where = variable.get("valueFrom", {})
        secret = where.get("secretKeyRef")
        assert secret is None or secret["key"] == variable["name"]
        value = GIVEN[variable["name"]] if secret else variable.get("value", "1.0.0")
        assert where.get("fieldRef") is None or variable["name"] == "WORKER_BUILD_ID"
        environment[variable["name"]] = value
    return environment


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_one_that_kubernetes_knows(
    manifests: list[Manifest], version: str
) -> None:
    for manifest in [*manifests, *load_all(OVERLAY / "secrets.example.yaml")]:
        if manifest["kind"] not in NOT_KUBERNETES:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_control_a_misspelt_field_is_noticed(manifests: list[Manifest]) -> None:
    (budget, *_) = of_kind(manifests, "PodDisruptionBudget")
    wrong = json.loads(json.dumps(budget))
    wrong["spec"]["maxUnavailabel"] = wrong["spec"].pop("maxUnavailable")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_each_file_is_there_and_is_used() -> None:
    used = {OVERLAY / "kustomization.yaml"}
    for kustomization in KUBERNETES.rglob("kustomization.yaml"):
        (content,) = load_all(kustomization)
        assert content["kind"] == "Kustomization"
        for resource in content["resources"]:
            path = (kustomization.parent / resource).resolve()
            assert path.exists(), path
            used.add(path / "kustomization.yaml" if path.is_dir() else path)
    present = {path for path in KUBERNETES.rglob("*") if path.is_file()}
    assert {path.name for path in present - used} == {"secrets.example.yaml"}


def test_each_manifest_has_a_name_of_its_own(manifests: list[Manifest]) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(names) == len(set(names))


def test_the_processes_take_their_settings(
    manifests: list[Manifest], no_environment: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(manifests, "api").items():
        no_environment.setenv(name, value)
    assert read_api_settings().host == "0.0.0.0"
    for name in environment_of(manifests, "api"):
        no_environment.delenv(name)
    for name, value in environment_of(manifests, "worker").items():
        no_environment.setenv(name, value)
    assert read_worker_settings().versioning.version is not None


@pytest.mark.parametrize("component", ["api", "worker", "set-up"])
def test_only_what_is_a_setting_is_set(manifests: list[Manifest], component: str) -> None:
    assert set(environment_of(manifests, component)) <= known_settings() | FROM_TEMPORAL


def test_only_who_needs_a_secret_gets_it(manifests: list[Manifest]) -> None:
    got = {
        component: GIVEN.keys() & environment_of(manifests, component)
        for component in ("api", "worker", "set-up")
    }
    both = {"MONGODB_URL", "TEMPORAL_API_KEY"}
    assert got == {
        "api": {*both, "JWT_KEYS", "STRIPE_WEBHOOK_SECRET", "OPERATOR_TOKEN"},
        "worker": {*both, "STRIPE_API_KEY"},
        "set-up": {"TEMPORAL_API_KEY"},
    }


def test_no_secret_is_here_and_what_stands_for_them_is_refused(
    manifests: list[Manifest], no_environment: pytest.MonkeyPatch
) -> None:
    assert of_kind(manifests, "Secret") == []
    examples = load_all(OVERLAY / "secrets.example.yaml")
    asked = set(re.findall(r"name: (holdfast-[\w-]+), key: (\w+)\}", _text("base", "worker")))
    given = {(e["metadata"]["name"], key) for e in examples for key in e["stringData"]}
    assert given == asked
    for _, key in given:
        (value,) = [e["stringData"][key] for e in examples if key in e["stringData"]]
        no_environment.setenv(key, value)
    for read, names in (
        (read_api_settings, ["MONGODB_URL", "JWT_KEYS"]),
        (read_worker_settings, ["MONGODB_URL", "STRIPE_API_KEY"]),
    ):
        with pytest.raises(SettingsError) as refused:
            read()
        assert all(name in str(refused.value) for name in names)


def test_pods_have_no_rights_that_they_do_not_need(manifests: list[Manifest]) -> None:
    for name, pod in pods_of(manifests):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
    assert "--uid 10001" in (REPOSITORY / "Dockerfile").read_text()


def test_there_is_time_to_drain(
    manifests: list[Manifest], no_environment: pytest.MonkeyPatch
) -> None:
    seconds = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod["spec"].get(
            "terminationGracePeriodSeconds", 0
        )
        for _, pod in pods_of(manifests)
    }
    for name, value in environment_of(manifests, "api").items():
        no_environment.setenv(name, value)
    settings = read_api_settings()
    longest = settings.drain + settings.purchase.payment_wait + ANSWER_GRACE
    assert settings.drain.total_seconds() >= 5
    assert seconds["api"] >= longest.total_seconds() + 5
    assert seconds["worker"] >= GRACEFUL_SHUTDOWN.total_seconds() + 5


def test_commands_are_those_of_the_composed_system(manifests: list[Manifest]) -> None:
    services = compose(SECRETS)["services"]
    for component, service in (
        ("api", "api"),
        ("worker", "worker"),
        ("set-up", "search-attributes"),
    ):
        container = container_of(manifests, component)
        assert container["command"] == services[service]["command"]
    asked = container_of(manifests, "worker")["startupProbe"]["exec"]["command"]
    assert asked == services["worker"]["healthcheck"]["test"][1:]


def test_probes_ask_ports_and_paths_that_are_served(
    manifests: list[Manifest], no_environment: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(manifests, "api").items():
        no_environment.setenv(name, value)
    paths = create_app(read_api_settings()).openapi()["paths"]
    for component in ("api", "worker"):
        container = container_of(manifests, component)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        environment = environment_of(manifests, component)
        assert environment["METRICS_ADDRESS"] == f"0.0.0.0:{ports['metrics']}"
        if component == "api":
            assert environment["API_PORT"] == str(ports["http"])
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            if asked := container.get(kind, {}).get("httpGet"):
                assert asked["port"] in ports
                path, _, query = asked["path"].partition("?")
                assert path in paths
                known = {p["name"] for p in paths[path]["get"].get("parameters", [])}
                assert {name for name, _ in parse_qsl(query)} <= known


def test_an_api_is_given_time_to_start_and_is_in_reach_without_temporal(
    manifests: list[Manifest],
) -> None:
    container = container_of(manifests, "api")
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz?needs=mongodb"
    startup = container["startupProbe"]
    seconds = startup["periodSeconds"] * startup["failureThreshold"]
    (api,) = [
        m for m in of_kind(manifests, "Deployment") if m["metadata"]["name"] == "holdfast-api"
    ]
    assert 600 <= seconds < api["spec"]["progressDeadlineSeconds"]


def test_whatever_chooses_pods_or_workloads_finds_them(manifests: list[Manifest]) -> None:
    pods = [pod["metadata"]["labels"] for _, pod in pods_of(manifests)]
    selectors = [s["spec"]["selector"] for s in of_kind(manifests, "Service")]
    selectors += [p["spec"]["podSelector"].get("matchLabels", {}) for p in _policies(manifests)]
    for kind in ("Deployment", "PodDisruptionBudget"):
        selectors += [m["spec"]["selector"]["matchLabels"] for m in of_kind(manifests, kind)]
    for selector in selectors:
        assert any(selector.items() <= labels.items() for labels in pods), selector
    deployments = {m["metadata"]["name"] for m in of_kind(manifests, "Deployment")}
    scaled = [
        m["spec"]["scaleTargetRef"]["name"]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for m in of_kind(manifests, kind)
    ]
    assert sorted(scaled) == sorted(deployments)
    (service,) = of_kind(manifests, "Service")
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] == "http"
    for rule in _rules(manifests, "https"):
        assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": port["port"]}]


def test_the_gateway_passes_on_what_the_api_needs_and_no_trace_of_a_client(
    manifests: list[Manifest], no_environment: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(manifests, "api").items():
        no_environment.setenv(name, value)
    settings = read_api_settings()
    streams = {
        path
        for path, methods in create_app(settings).openapi()["paths"].items()
        if "text/event-stream" in json.dumps(methods)
    }
    rules = _rules(manifests, "https")
    limits = {
        match["path"]["value"]: rule["timeouts"]["request"]
        for rule in rules
        for match in rule["matches"]
    }
    everything = int(limits.pop("/").removesuffix("s"))
    assert (
        everything > settings.purchase.payment_wait.total_seconds() + ANSWER_GRACE.total_seconds()
    )
    assert limits == dict.fromkeys(streams, "0s")
    for rule in rules:
        (modifier,) = rule["filters"]
        assert modifier["requestHeaderModifier"] == {"remove": ["traceparent"]}


def test_every_listener_has_a_route_and_plain_http_only_leads_to_https(
    manifests: list[Manifest],
) -> None:
    (gateway,) = of_kind(manifests, "Gateway")
    routes = of_kind(manifests, "HTTPRoute")
    listeners = {listener["name"]: listener for listener in gateway["spec"]["listeners"]}
    for kind in (gateway, *routes):
        assert kind["apiVersion"] == "gateway.networking.k8s.io/v1"
    for route in routes:
        (parent,) = route["spec"]["parentRefs"]
        assert parent["name"] == gateway["metadata"]["name"]
        assert route["spec"]["hostnames"] == [listeners[parent["sectionName"]]["hostname"]]
    assert listeners.keys() == {route["spec"]["parentRefs"][0]["sectionName"] for route in routes}
    assert listeners["https"]["tls"]["certificateRefs"]
    (redirect,) = [filter for rule in _rules(manifests, "http") for filter in rule["filters"]]
    assert redirect["requestRedirect"] == {"scheme": "https", "statusCode": 301}


def test_a_build_of_the_workers_has_one_name_everywhere(manifests: list[Manifest]) -> None:
    (deployment,) = [
        m for m in of_kind(manifests, "Deployment") if "worker" in m["metadata"]["name"]
    ]
    (scaled,) = of_kind(manifests, "ScaledObject")
    environment = environment_of(manifests, "worker")
    build = deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"]
    container = container_of(manifests, "worker")
    assert container["image"].endswith(f"/holdfast:{build}")
    assert deployment["metadata"]["name"] == f"holdfast-worker-{build.replace('.', '-')}"
    assert (OVERLAY / "workers" / build).is_dir()
    (field,) = [v["valueFrom"]["fieldRef"] for v in container["env"] if _is_from_field(v)]
    assert field == {"fieldPath": "metadata.labels['app.kubernetes.io/version']"}
    (temporal,) = [t for t in scaled["spec"]["triggers"] if t["type"] == "temporal"]
    assert temporal["metadata"] == {
        "endpoint": environment["TEMPORAL_ADDRESS"],
        "namespace": environment["TEMPORAL_NAMESPACE"],
        "taskQueue": environment["TASK_QUEUE"],
        "queueTypes": "workflow,activity",
        "workerDeploymentName": environment["WORKER_DEPLOYMENT_NAME"],
        "workerDeploymentBuildId": build,
        "targetQueueSize": temporal["metadata"]["targetQueueSize"],
    }


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The overlay of a copy, to roll something out from."""
    return Path(shutil.copytree(KUBERNETES, tmp_path / "kubernetes")) / "overlays" / "production"


def test_a_new_build_registers_its_search_attributes_ahead_of_the_api(copied: Path) -> None:
    """By the recipe of docs/deployment.md: a directory for the build, apply; newTag, apply."""
    before = _jobs(copied)
    _add_build(copied, "1.1.0")
    added = _jobs(copied)
    (new,) = added.keys() - before.keys()
    (container,) = added[new]["spec"]["template"]["spec"]["containers"]
    assert new == "holdfast-search-attributes-1-1-0"
    assert container["image"] == "registry.example.com/holdfast:1.1.0"
    assert before.items() <= added.items()
    _change(copied / "kustomization.yaml", "newTag: 1.0.0", "newTag: 1.1.0")
    assert _images(copied, "api") == {"registry.example.com/holdfast:1.1.0"}
    assert _jobs(copied) == added


def test_a_setting_that_changes_rolls_the_pods_and_leaves_the_jobs(copied: Path) -> None:
    """Kubernetes refuses a Job that is not what it was."""
    jobs, deployments = _jobs(copied), of_kind(render(copied), "Deployment")
    _change(
        copied / "kustomization.yaml", "TEMPORAL_NAMESPACE=holdfast", "TEMPORAL_NAMESPACE=other"
    )
    assert _jobs(copied) == jobs
    changed = of_kind(render(copied), "Deployment")
    assert all(old["spec"] != new["spec"] for old, new in zip(deployments, changed, strict=True))
    assert environment_of(render(copied), "set-up")["TEMPORAL_NAMESPACE"] == "other"


def test_the_set_up_has_the_settings_of_all(manifests: list[Manifest]) -> None:
    worker, set_up = (environment_of(manifests, component) for component in ("worker", "set-up"))
    assert set_up.items() <= worker.items()
    assert {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"} <= set_up.keys()


def test_the_policy_that_is_shown_is_one(manifests: list[Manifest]) -> None:
    """docs/deployment.md shows how to let the API's traces out by another port."""
    page = (REPOSITORY / "docs" / "deployment.md").read_text()
    (shown,) = re.findall(r"^ *```yaml\n(.*?)```", page, re.M | re.S)
    policy = YAML(typ="safe", pure=True).load(shown)
    kubernetes_validate.validate(policy, VERSIONS[0], strict=True)
    assert policy["kind"] == "NetworkPolicy"
    assert policy["metadata"]["name"] not in {p["metadata"]["name"] for p in _policies(manifests)}
    selector = policy["spec"]["podSelector"]["matchLabels"]
    assert any(
        selector.items() <= pod["metadata"]["labels"].items() for _, pod in pods_of(manifests)
    )


def test_the_scaled_object_is_what_keda_takes(manifests: list[Manifest]) -> None:
    """By its documentation: the schema is part of KEDA, and no package carries it."""
    (scaled,) = of_kind(manifests, "ScaledObject")
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    spec = scaled["spec"]
    assert set(spec) == {
        "scaleTargetRef",
        "minReplicaCount",
        "maxReplicaCount",
        "pollingInterval",
        "advanced",
        "triggers",
    }
    assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"]
    horizontal = spec["advanced"]["horizontalPodAutoscalerConfig"]
    as_autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": scaled["metadata"],
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", **spec["scaleTargetRef"]},
            "maxReplicas": spec["maxReplicaCount"],
            **horizontal,
        },
    }
    kubernetes_validate.validate(as_autoscaler, VERSIONS[0], strict=True)
    for trigger in spec["triggers"]:
        assert trigger["type"] in ("temporal", "cpu")
        assert all(isinstance(value, str) for value in trigger["metadata"].values())


def _rules(manifests: list[Manifest], listener: str) -> list[Manifest]:
    routes = [route["spec"] for route in of_kind(manifests, "HTTPRoute")]
    return [
        rule
        for route in routes
        for rule in route["rules"]
        if route["parentRefs"][0]["sectionName"] == listener
    ]


def _jobs(overlay: Path) -> dict[str, Manifest]:
    return {job["metadata"]["name"]: job for job in of_kind(render(overlay), "Job")}


def _images(overlay: Path, component: str) -> set[str]:
    return {container_of(render(overlay), component)["image"]}


def _add_build(overlay: Path, build: str) -> None:
    new = Path(shutil.copytree(overlay / "workers" / "1.0.0", overlay / "workers" / build))
    file = new / "kustomization.yaml"
    text = file.read_text().replace("1.0.0", build).replace("-1-0-0", f"-{build.replace('.', '-')}")
    file.write_text(text)
    first = "  - workers/1.0.0\n"
    _change(overlay / "kustomization.yaml", first, f"{first}  - workers/{build}\n")


def _change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def _policies(manifests: list[Manifest]) -> list[Manifest]:
    return of_kind(manifests, "NetworkPolicy")


def _is_from_field(variable: dict[str, Any]) -> bool:
    return "fieldRef" in variable.get("valueFrom", {})


def _text(*directories: str) -> str:
    files = [file for name in directories for file in Path(KUBERNETES / name).glob("*.yaml")]
    text = "".join(file.read_text() for file in files)
    return text.replace(", optional: true}", "}").replace(
        "{name: holdfast-temporal, key: TEMPORAL_API_KEY}", ""
    )

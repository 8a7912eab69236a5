"""As much of kustomize as deploy/kubernetes uses, and an error for whatever else it would use.

The hashes at the ends of the names of ConfigMaps are other ones, and come and go with the same
changes. `kubectl kustomize` was held against it when it was written, and makes the rest alike.
"""

import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

Manifest = dict[str, Any]

KNOWN = {"apiVersion", "kind", "namespace", "nameSuffix", "resources", "labels", "images"}
KNOWN |= {"configMapGenerator", "replacements"}
HASHED = "the name that is to get a hash"
UNHASHED = {"disableNameSuffixHash": True}
CLUSTER_WIDE = {"Namespace"}


def load_all(file: Path) -> list[Manifest]:
    """The manifests of one file, each with anchors resolved into copies of its own."""
    loaded = YAML(typ="safe", pure=True).load_all(file.read_text())
    return [_copied(manifest) for manifest in loaded]


def render(directory: Path) -> list[Manifest]:
    """What `kubectl apply --kustomize` would send for the directory."""
    manifests = _build(directory)
    names = {name: _hashed(m) for m in manifests if (name := m.pop(HASHED, None))}
    for manifest in manifests:
        if manifest["kind"] == "ConfigMap":
            name = manifest["metadata"]["name"]
            manifest["metadata"]["name"] = names.get(name, name)
    for _, pod in pods_of(manifests):
        for container in pod["spec"]["containers"]:
            for source in container.get("envFrom", []):
                reference = source["configMapRef"]
                reference["name"] = names.get(reference["name"], reference["name"])
    return manifests


def _build(directory: Path) -> list[Manifest]:
    (kustomization,) = load_all(directory / "kustomization.yaml")
    unknown = set(kustomization) - KNOWN
    assert not unknown, f"{directory}: this renderer does not know {unknown}"
    manifests: list[Manifest] = []
    for resource in kustomization.get("resources", []):
        path = directory / resource
        manifests += _build(path) if path.is_dir() else load_all(path)
    for generator in kustomization.get("configMapGenerator", []):
        _generate(manifests, generator)
    for manifest in manifests:
        _set_namespace(manifest, kustomization.get("namespace"))
        manifest["metadata"]["name"] += kustomization.get("nameSuffix", "")
        for label in kustomization.get("labels", []):
            _label(manifest, label["pairs"])
        for image in kustomization.get("images", []):
            _set_image(manifest, image)
    for replacement in kustomization.get("replacements", []):
        _replace(manifests, replacement)
    return manifests


def pods_of(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The template of each workload's pods, under the workload's name."""
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "Job"):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]


def _generate(manifests: list[Manifest], generator: Manifest) -> None:
    data = dict(literal.split("=", 1) for literal in generator["literals"])
    name = generator["name"]
    found = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == ("ConfigMap", name)]
    if generator.get("behavior") == "merge":
        (existing,) = found
        existing["data"] |= data
        return
    assert not found, f"two ConfigMaps are named {name}"
    metadata = {"name": name}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    options = generator.get("options", {})
    assert options in ({}, UNHASHED), f"this renderer does not know {options}"
    manifests.append(made if options else made | {HASHED: name})


def _hashed(config_map: Manifest) -> str:
    content = json.dumps(config_map["data"], sort_keys=True)
    return f"{config_map['metadata']['name']}-{zlib.crc32(content.encode()):08x}"


def _set_namespace(manifest: Manifest, namespace: str | None) -> None:
    if namespace and manifest["kind"] not in CLUSTER_WIDE:
        manifest["metadata"]["namespace"] = namespace


def _label(manifest: Manifest, pairs: Manifest) -> None:
    """Labels with includeSelectors: wherever a pod is labelled, or chosen by its labels."""
    manifest["metadata"].setdefault("labels", {}).update(pairs)
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Service":
            spec["selector"].update(pairs)
        case "NetworkPolicy" | "PodDisruptionBudget":
            selector = spec.get("podSelector", spec.get("selector"))
            if "matchLabels" in selector:
                selector["matchLabels"].update(pairs)
        case "Deployment" | "Job":
            spec["template"]["metadata"]["labels"].update(pairs)
            if "selector" in spec:
                spec["selector"]["matchLabels"].update(pairs)
            for spread in spec["template"]["spec"].get("topologySpreadConstraints", []):
                spread["labelSelector"]["matchLabels"].update(pairs)


def _set_image(manifest: Manifest, image: Manifest) -> None:
    for _, pod in pods_of([manifest]):
        for container in pod["spec"]["containers"]:
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"


def _replace(manifests: list[Manifest], replacement: Manifest) -> None:
    source = replacement["source"]
    (found,) = [
        manifest
        for manifest in manifests
        if manifest["kind"] == source["kind"]
        and source.get("name", manifest["metadata"]["name"]) == manifest["metadata"]["name"]
    ]
    value, _ = _field(found, source["fieldPath"])
    for target in replacement["targets"]:
        chosen = [m for m in manifests if _is_selected(m, target["select"])]
        assert chosen, f"nothing is a {target['select']}"
        for manifest in chosen:
            for path in target["fieldPaths"]:
                _field(manifest, path)[1](_copied(value))


def _is_selected(manifest: Manifest, select: Manifest) -> bool:
    name = manifest["metadata"]["name"]
    return bool(manifest["kind"] == select["kind"] and select.get("name", name) == name)


def _field(manifest: Manifest, path: str) -> tuple[Any, Callable[[Any], None]]:
    """What stands at the path, and how to put something else there."""
    *parents, last = [
        int(plain) if plain.isdigit() else bracketed or plain
        for bracketed, plain in re.findall(r"\[([^]]+)\]|([^.\[\]]+)", path)
    ]
    node: Any = manifest
    for step in parents:
        node = node[step]
    return node[last], lambda value: node.__setitem__(last, value)


def _copied(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _copied(value) for key, value in node.items()}
    return [_copied(value) for value in node] if isinstance(node, list) else node

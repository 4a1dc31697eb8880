"""The part of Kustomize that deploy/kubernetes uses, because its program is not packaged for PyPI or Debian.

This covers resources (files and folders), namespace, images, config maps of files, and patches. Patches merge maps by
key, lists of containers, variables and volumes by name, and mounts by path. null removes a key. Names of config maps
get no hash. Anything else in a kustomization raises ValueError, so that no test ignores an unsupported directive.
"""

import re
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
_KNOWN = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "images", "patches"}
_BY = {"containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath"}
_WITHOUT_NAMESPACE = {"Namespace"}


def build(folder: Path) -> list[Object]:
    """Return every object that `kubectl apply -k folder` would apply."""
    directives = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := directives.keys() - _KNOWN:
        raise ValueError(f"{folder}: {sorted(unknown)} are not understood")
    objects: list[Object] = []
    for name in directives.get("resources", []):
        path = folder / name
        objects += build(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for made in directives.get("configMapGenerator", []):
        data = {name: (folder / name).read_text() for name in made["files"]}
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": made["name"]}, "data": data})
    for patch in directives.get("patches", []):
        objects = _patched(objects, yaml.safe_load((folder / patch["path"]).read_text()), patch.get("target"))
    for each in objects:
        if "namespace" in directives and each["kind"] not in _WITHOUT_NAMESPACE:
            each["metadata"]["namespace"] = directives["namespace"]
        _name_images(each, directives.get("images", []))
    return objects


def _patched(objects: list[Object], patch: Object, target: dict[str, str] | None) -> list[Object]:
    """Merge the patch into the target's objects, or without a target into the object of its kind and name."""
    wanted = target or {"kind": patch["kind"], "name": patch["metadata"]["name"]}
    hit = [each for each in objects if _is(each, wanted)]
    if not hit:
        raise ValueError(f"no object for the patch of {wanted}")
    change = {name: value for name, value in patch.items() if name not in {"apiVersion", "kind", "metadata"}}
    return [merged(each, change) if each in hit else each for each in objects]


def _is(each: Object, wanted: dict[str, str]) -> bool:
    found = {"kind": each["kind"], "name": each["metadata"]["name"]}
    return all(re.fullmatch(pattern, found[key]) for key, pattern in wanted.items())


def merged(below: Any, above: Any, key: str = "") -> Any:
    """Return a strategic merge. `key` is the name of the merged field."""
    if isinstance(below, dict) and isinstance(above, dict):
        whole = {**below, **{name: merged(below.get(name), value, name) for name, value in above.items()}}
        return {name: value for name, value in whole.items() if value is not None}
    if isinstance(below, list) and isinstance(above, list) and key in _BY:
        by = _BY[key]
        known = {each[by]: each for each in below}
        for each in above:
            known[each[by]] = merged(known.get(each[by]), each)
        return list(known.values())
    return above


def _name_images(tree: Any, images: list[dict[str, str]]) -> None:
    """Set the images of containers to the given names and tags."""
    if isinstance(tree, list):
        for each in tree:
            _name_images(each, images)
    elif isinstance(tree, dict):
        for each in images:
            if tree.get("image") == each["name"]:
                tree["image"] = f"{each['newName']}:{each['newTag']}"
        for value in tree.values():
            _name_images(value, images)

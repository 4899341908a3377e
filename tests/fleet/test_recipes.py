"""The recipes for fleets name options that exist, and a manifest that Kubernetes can take."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest

RECIPES = Path(__file__).resolve().parents[2] / "docs" / "fleet.md"
TEXT = RECIPES.read_text(encoding="utf-8")
# Members of the published API types (kubernetes.io/docs/reference/kubernetes-api: Service v1, Job batch/v1, Pod v1);
# below those marked "*" anything may stand.
SCHEMA = {
    "Service": {
        "apiVersion": "v1",
        "metadata": {"name": str},
        "spec": {"clusterIP": "None", "selector": "*"},
    },
    "Job": {
        "apiVersion": "batch/v1",
        "metadata": {"name": str},
        "spec": {
            "completions": int,
            "parallelism": int,
            "completionMode": "Indexed",
            "backoffLimit": int,
            "activeDeadlineSeconds": int,
            "template": {
                "spec": {
                    "subdomain": str,
                    "restartPolicy": "Never",
                    "containers": [
                        {
                            "name": str,
                            "image": str,
                            "command": [str],
                            "resources": {"limits": "*"},
                            "volumeMounts": [{"name": str, "mountPath": str}],
                        }
                    ],
                    "volumes": [{"name": str, "emptyDir": {"medium": "Memory", "sizeLimit": str}}],
                }
            },
        },
    },
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def parse(lines, indent=0):
    """Read the part of YAML that the manifest is written in: mappings, lists, plain scalars and `>-`."""
    if lines and lines[0][1].startswith("- "):
        return _list(lines, indent)
    made = {}
    while lines and lines[0][0] == indent and not lines[0][1].startswith("- "):
        name, _, rest = lines.pop(0)[1].partition(":")
        made[name] = _value(rest.strip(), lines, indent)
    return made


def _value(rest, lines, indent):
    if rest == ">-":
        return _folded(lines, indent)
    if rest:
        return int(rest) if rest.isdigit() else rest
    return parse(lines, lines[0][0])


def _list(lines, indent):
    made = []
    while lines and lines[0][0] == indent and lines[0][1].startswith("- "):
        text = lines[0][1][2:]
        if text == ">-":
            lines.pop(0)
            made.append(_folded(lines, indent))
        elif re.match(r"[\w.-]+:( |$)", text):
            lines[0] = (indent + 2, text)
            made.append(parse(lines, indent + 2))
        else:
            lines.pop(0)
            made.append(text)
    return made


def _folded(lines, indent):
    words = []
    while lines and lines[0][0] > indent:
        words.append(lines.pop(0)[1])
    return " ".join(words)


def documents():
    (text,) = blocks("yaml")
    for part in text.split("---\n"):
        lines = [(len(line) - len(line.lstrip()), line.strip()) for line in part.splitlines() if line.strip()]
        document = parse(lines)
        assert not lines, f"not read: {lines}"
        yield document


def fits(value, schema, where=""):
    if schema == "*":
        return
    if isinstance(schema, dict):
        assert isinstance(value, dict), where
        assert set(value) - {"kind"} == set(schema), where
        for name, below in schema.items():
            fits(value[name], below, f"{where}.{name}")
    elif isinstance(schema, list):
        assert value, where
        assert isinstance(value, list), where
        for one in value:
            fits(one, schema[0], where)
    elif isinstance(schema, type):
        assert isinstance(value, schema), where
    else:
        assert value == schema, where


def test_the_manifest_has_the_members_of_the_api_types():
    found = list(documents())
    assert [document["kind"] for document in found] == ["Service", "Job"]
    for document in found:
        fits(document, SCHEMA[document["kind"]], document["kind"])


def test_the_parts_of_the_manifest_refer_to_each_other():
    service, job = documents()
    pod = job["spec"]["template"]["spec"]
    name = job["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}, "the label that the Job controller gives its pods"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert {m["name"] for m in pod["containers"][0]["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    command = pod["containers"][0]["command"][-1]
    assert f"--nnodes {job['spec']['completions']} " in command
    assert f"--master-addr {name}-0.{service['metadata']['name']} " in command
    assert f"--nproc-per-node {pod['containers'][0]['resources']['limits']['nvidia.com/gpu']} " in command


@pytest.mark.parametrize("line", re.findall(r"torchcheck (verify|diff)([^`>\n]*)", TEXT))
def test_every_option_of_the_recipes_exists(line):
    command = importlib.import_module(f"torchcheck.cli.{line[0]}").command
    known = {word for one in command.get_params(click.Context(command)) for word in one.opts}
    assert set(re.findall(r"(?<!\S)--[a-z-]+", line[1])) <= known

"""The recipes for fleets: options that exist, manifests that Kubernetes takes, scripts that a shell can read."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import click
import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
SCHEMAS = json.loads((Path(__file__).parent / "kubernetes" / "v1.30-strict.json").read_text(encoding="utf-8"))
KINDS = {
    "Service": "io.k8s.api.core.v1.Service",
    **{kind: f"io.k8s.api.batch.v1.{kind}" for kind in ("Job", "CronJob")},
}
# Of the manual pages of sbatch and srun (slurm.schedmd.com), those whose values the recipes use.
SLURM = {
    "job-name": r"[\w-]+",
    "nodes": r"\d+",
    "ntasks-per-node": r"\d+",
    "gpus-per-node": r"\d+",
    "time": r"\d\d:\d\d:\d\d",
    "exclusive": None,
    "kill-on-bad-exit": r"[01]",
    "deadline": r"now\+\d+hours",
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


MANIFESTS = [list(yaml.safe_load_all(block)) for block in blocks("yaml")]


def complaints(document):
    schema = {**SCHEMAS, "$ref": f"#/$defs/{KINDS[document['kind']]}"}
    return [
        f"{error.json_path}: {error.message}" for error in jsonschema.Draft202012Validator(schema).iter_errors(document)
    ]


@pytest.mark.parametrize("document", [document for documents in MANIFESTS for document in documents])
def test_a_manifest_fits_the_published_api(document):
    assert complaints(document) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda job: job["spec"].update(completionmode="Indexed"), "completionmode"),
        (lambda job: job["spec"].update(completions="four"), "four"),
        (lambda job: job["spec"]["template"]["spec"]["containers"][0].pop("name"), "'name' is a required"),
        (lambda job: job["spec"]["template"]["spec"]["volumes"][0].update(emptydir={}), "emptydir"),
        (lambda job: job["spec"].pop("template"), "'template' is a required"),
    ],
)
def test_a_manifest_with_a_mistake_does_not_fit(change, complaint):
    job = json.loads(json.dumps(next(d for documents in MANIFESTS for d in documents if d["kind"] == "Job")))
    change(job)
    assert any(complaint in one for one in complaints(job)), complaints(job)


@pytest.mark.parametrize("documents", MANIFESTS)
def test_the_parts_of_a_manifest_refer_to_each_other(documents):
    service = next(d for d in documents if d["kind"] == "Service")
    outer = next(d for d in documents if d["kind"] != "Service")
    spec = outer["spec"]["jobTemplate"]["spec"] if outer["kind"] == "CronJob" else outer["spec"]
    pod, name = spec["template"]["spec"], outer["metadata"]["name"]
    # The Job controller gives its pods the label job-name; the Jobs of a CronJob have names of their own.
    labels = {
        **spec["template"].get("metadata", {}).get("labels", {}),
        **({"job-name": name} if outer["kind"] == "Job" else {}),
    }
    assert service["spec"]["selector"].items() <= labels.items()
    assert pod["subdomain"] == service["metadata"]["name"]
    assert {m["name"] for m in pod["containers"][0]["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    command = pod["containers"][0]["command"][-1]
    assert spec["completionMode"] == "Indexed"
    assert f"--nnodes {spec['completions']} " in command
    assert spec["parallelism"] == spec["completions"], "all ranks wait for each other"
    assert f"--nproc-per-node {pod['containers'][0]['resources']['limits']['nvidia.com/gpu']} " in command
    first = f"{name}-0" if outer["kind"] == "Job" else '"${HOSTNAME%-*}-0'
    assert f"--master-addr {first}.{service['metadata']['name']}" in command


def test_the_pods_of_a_nightly_job_find_the_first_of_them():
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("there is no POSIX shell here")
    asked = [shell, "-c", 'echo "${HOSTNAME%-*}-0.torchcheck"']
    ran = subprocess.run(
        asked,
        env={"HOSTNAME": "torchcheck-29180160-3"},
        check=True,
        capture_output=True,
        encoding="locale",
    )
    assert ran.stdout.strip() == "torchcheck-29180160-0.torchcheck"


@pytest.mark.parametrize("script", blocks("bash"))
def test_a_script_can_be_read_by_the_shell(script, tmp_path):
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("there is no bash here")
    path = tmp_path / "script.sh"
    path.write_text(
        re.sub(r"^(?:\S+ ){4}\S+ (?=sbatch)", "", script, flags=re.MULTILINE), encoding="utf-8", newline="\n"
    )
    ran = subprocess.run([shell, "-n", str(path)], check=False, capture_output=True, encoding="locale")
    assert ran.returncode == 0, ran.stderr


def test_the_options_of_slurm_are_those_of_its_manual():
    lines = re.findall(r"^(?:#SBATCH |srun |.*\bsbatch )(.*)$", TEXT, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        options = re.findall(r"(?:^|\s)--([\w-]+)(?:=(\S+))?", line.partition(" torchcheck ")[0])
        assert options
        for name, value in options:
            assert name in SLURM, name
            pattern = SLURM[name]
            assert value == "" if pattern is None else re.fullmatch(pattern, value), (name, value)


@pytest.mark.parametrize("line", re.findall(r"torchcheck (verify|diff)([^`>\n]*)", TEXT))
def test_every_option_of_the_recipes_exists(line):
    command = importlib.import_module(f"torchcheck.cli.{line[0]}").command
    known = {word for one in command.get_params(click.Context(command)) for word in one.opts}
    assert set(re.findall(r"(?<!\S)--[a-z-]+", line[1])) <= known

"""A Debian machine with nothing on it and no registry in reach: engine, buildx and base image from packages alone.

The machine is a container of the base image with the rights to run an engine of its own. What it makes is inspected
there and goes with it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.engine import BASE_IMAGE
from tests.support.tree import Tree

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = [pytest.mark.xdist_group("engine"), pytest.mark.timeout(600)]

# All rights but the one that a machine's root may itself lack, which is what --privileged stumbles over.
RIGHTS = (
    *("--cap-add=ALL", "--cap-drop=SYS_RESOURCE"),
    *(f"--security-opt={name}=unconfined" for name in ("seccomp", "apparmor", "systempaths")),
)
# What a real machine has: writable control groups, services that may start. And a company's certificate.
PREPARE = """
mount -o remount,rw /sys
for group in /sys/fs/cgroup /sys/fs/cgroup/*; do
    if mountpoint -q "$group"; then mount -o remount,rw,bind "$group"; fi
done
if test -e /sys/fs/cgroup/cgroup.controllers; then
    mkdir /sys/fs/cgroup/machine
    while read -r process; do echo "$process" >/sys/fs/cgroup/machine/cgroup.procs; done </sys/fs/cgroup/cgroup.procs
    sed 's/\\(^\\| \\)/ +/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
fi
rm -f /usr/sbin/policy-rc.d
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=Inspecting Proxy of a Test" -keyout /dev/null \\
    -out /usr/local/share/ca-certificates/company.crt 2>/dev/null
update-ca-certificates >/dev/null
"""
# The engine in there finds no registry; apt and pip go their own way.
NO_REGISTRY = "HTTPS_PROXY=http://127.0.0.1:9"


class Machine:
    """The container, and commands in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.told = ""

    def run(self, script: str, *environment: str) -> subprocess.CompletedProcess[str]:
        settings = (f"--env={setting}" for setting in environment)
        return subprocess.run(
            ["docker", "exec", *settings, self.name, "bash", "-ec", script], capture_output=True, text=True, check=False
        )

    def shell(self, script: str) -> str:
        done = self.run(script)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def take(self, source: Path, target: str) -> None:
        subprocess.run(["docker", "cp", source, f"{self.name}:{target}"], check=True, capture_output=True)


@pytest.fixture(scope="module")
def machine(engine: DockerClient, root: Path) -> Iterator[Machine]:
    """Give the machine after the one command, which it had nothing before."""
    name = f"trimtab-fresh-{os.getpid()}"
    machine = Machine(name)
    options = ("--detach", "--rm", "--init", f"--name={name}", "--volume=/var/lib/docker", *RIGHTS)
    subprocess.run(["docker", "run", *options, BASE_IMAGE, "sleep", "infinity"], check=True, capture_output=True)
    try:
        machine.shell("mkdir /trimtab")
        machine.take(root / "scripts", "/trimtab/scripts")
        machine.shell(PREPARE)
        done = machine.run(f"/trimtab/scripts/setup-engine --base {BASE_IMAGE}", NO_REGISTRY)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        machine.told = done.stderr
        yield machine
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=True, capture_output=True)


def test_one_command_brings_all_of_it_and_says_each_thing_first(machine: Machine) -> None:
    expected = (
        "engine: none here: installing",
        "installing docker.io",
        "engine: starting dockerd",
        "engine: bringing buildx",
        f"base image: {BASE_IMAGE} is not here; pulling it",
        "base image: making it from Debian's packages",
        f"NOTICE: {BASE_IMAGE} was MADE HERE",
        "It is not: the official image",
    )
    places = [machine.told.find(words) for words in expected]
    assert -1 not in places, machine.told
    assert places == sorted(places)
    machine.shell("docker info && docker buildx version")


def test_a_second_call_finds_all_of_it_and_says_nothing(machine: Machine) -> None:
    done = machine.run(f"/trimtab/scripts/setup-engine --base {BASE_IMAGE}", NO_REGISTRY)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_base_says_what_it_is_and_is_about_as_slim_as_the_official_one(machine: Machine) -> None:
    [image] = json.loads(machine.shell(f"docker image inspect {BASE_IMAGE}"))
    assert image["Config"]["Labels"] == {"org.trimtab.bootstrapped": "true", "org.trimtab.debian-suite": "bookworm"}
    assert image["Size"] < 135_000_000


def test_the_base_has_python_and_pip_where_the_official_one_has_them(machine: Machine) -> None:
    told = machine.shell(
        f"docker run --rm {BASE_IMAGE} sh -c 'which python python3 pip; python --version; pip --version'"
    )
    assert told.splitlines()[:3] == ["/usr/local/bin/python", "/usr/local/bin/python3", "/usr/local/bin/pip"]
    assert re.search(r"^Python 3\.11\.\d+\npip ", told, re.MULTILINE)


def test_the_base_trusts_whom_the_machine_trusts(machine: Machine) -> None:
    code = "import ssl; print([dict(c)['subject'] for c in ssl.create_default_context().get_ca_certs()])"
    assert "Inspecting Proxy of a Test" in machine.shell(f'docker run --rm {BASE_IMAGE} python -c "{code}"')


def test_an_image_builds_on_the_base_with_packages_of_both_kinds(machine: Machine) -> None:
    recipe = f"""FROM {BASE_IMAGE}
RUN pip install --no-cache-dir six
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1
RUN python -c 'import six'"""
    machine.shell(f"mkdir -p /empty && docker buildx build --tag built --file - /empty <<'END'\n{recipe}\nEND")
    machine.shell("docker run --rm built python -m venv /tmp/venv")


def test_a_bootstrap_that_ends_early_leaves_nothing_that_could_be_taken_for_an_image(machine: Machine) -> None:
    start = f"{NO_REGISTRY} setsid /trimtab/scripts/bootstrap-base python:3.13-slim-trixie 2>/dev/null & script=$!"
    half_way = "until ls -d /var/tmp/trimtab-base-0.??????/root/usr 2>/dev/null; do sleep 0.1; done"
    images = machine.shell("docker image ls --all --quiet")
    # Killed with all it started: its folder stays, and goes with the next call, which is asked to end.
    left = machine.shell(f"{start}; {half_way}; kill -KILL -- -$script")
    machine.shell(
        f"test -e {left}; {start}; while test -e {left}; do sleep 0.1; done; {half_way}; kill -TERM $script; "
        "wait $script || test $? -eq 143"
    )
    assert machine.shell("find /var/tmp -name 'trimtab-base-0.??????'") == ""
    assert machine.shell("docker image ls --all --quiet") == images
    assert "trimtab-base" not in machine.shell("cat /proc/mounts")


def test_a_python_without_venv_is_completed_from_debian_s_packages(
    machine: Machine, root: Path, tmp_path: Path
) -> None:
    if machine.run("dpkg -s python3.11-venv").returncode:
        pytest.skip("the base here is the official one, whose Python is whole")
    tree = Tree(root, tmp_path / "tree")
    machine.take(tree.root, "/fresh")
    machine.take(tree.wheels, "/wheels")
    machine.shell("apt-get purge --yes python3.11-venv")
    done = machine.run("/fresh/deploy.sh --help", "PIP_FIND_LINKS=/wheels")
    assert done.returncode == 0, done.stderr
    assert "installing python3.11-venv with apt-get\n" in done.stderr
    assert done.stdout.startswith("Usage: trimtab")

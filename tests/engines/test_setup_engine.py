"""scripts/setup-engine on a machine of its own: namespaces with no engine, from where nothing reaches the real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.xdist_group("engine"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces and start an engine in them"),
    pytest.mark.skipif(
        not shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin"), reason="dockerd is not here"
    ),
]

# No network, no engine, and the folders where an engine leaves traces empty. `read` ends it with the test.
MACHINE = """
set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mkdir /run/lock
mount --bind "$1" /var/lib/docker
cp -r "$2" /run/scripts # where everybody can read them
echo ready
read -r _
"""
# The folder that dockerd is in, without it: as where none is installed.
WITHOUT_DOCKERD = """
folder=$(dirname "$(PATH=$PATH:/usr/sbin command -v dockerd)")
mkdir /run/all /run/others
mount --bind "$folder" /run/all
ln -s /run/all/* /run/others
rm /run/others/dockerd
mount --bind /run/others "$folder"
"""
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


class Machine:
    """Namespaces with no engine in them, held by a process; what it starts dies with it."""

    def __init__(self, scripts: Path, data_root: Path) -> None:
        self.script = Path("/run/scripts/setup-engine")
        namespaces = ("--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child")
        self._holder = subprocess.Popen(
            ["unshare", *namespaces, "bash", "-c", MACHINE, "machine", data_root, scripts],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout
        if self._holder.stdout.readline() != "ready\n":
            self.close()
            pytest.fail("the machine could not be made; its words are on stderr")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text()
        self._inside = ("nsenter", "--target", children.strip(), "--mount", "--net", "--pid", "--wd=/")
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER")}

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()

    def run(self, *argv: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the machine; it ends when it closes its output, so nothing it started may hold that open."""
        return subprocess.run(
            [*self._inside, *argv],
            env={**self._environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def shell(self, script: str) -> str:
        done = self.run("bash", "-ec", script)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def setup(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.script, *words, **environment)

    def setup_as_nobody(self) -> subprocess.CompletedProcess[str]:
        return self.run(*AS_NOBODY, self.script, HOME="/nonexistent")

    def engine_pid(self) -> int:
        return int(self.shell("cat /run/docker.pid"))

    def engines(self) -> int:
        return int(
            self.shell("grep --no-messages --files-with-matches --line-regexp dockerd /proc/[0-9]*/comm | wc -l")
        )


@pytest.fixture
def machine(root: Path, tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "docker").mkdir()
    machine = Machine(root / "scripts", tmp_path / "docker")
    yield machine
    machine.close()


def test_an_engine_is_started_after_saying_so_and_outlives_the_script(machine: Machine) -> None:
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "starting dockerd (log: /var/log/trimtab-dockerd.log)" in done.stderr
    machine.shell("docker info && docker buildx version")
    # In a session of its own: closing the terminal does not end it.
    assert machine.shell("cut -d' ' -f6 /proc/$(cat /run/docker.pid)/stat") == str(machine.engine_pid())


def test_an_engine_that_answers_is_left_alone_within_300_ms(machine: Machine) -> None:
    assert machine.setup().returncode == 0
    engine = machine.engine_pid()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        done = machine.setup()
        seconds.append(time.perf_counter() - began)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert min(seconds) < 0.3
    assert machine.engine_pid() == engine


def test_images_are_kept_where_data_root_says(machine: Machine, tmp_path: Path) -> None:
    assert machine.setup("--data-root", str(tmp_path / "images")).returncode == 0
    assert machine.shell("docker info --format '{{.DockerRootDir}}'") == str(tmp_path / "images")


def test_pid_files_that_name_other_processes_do_not_keep_an_engine_from_starting(machine: Machine) -> None:
    assert machine.setup().returncode == 0
    machine.shell("kill -9 $(cat /run/docker.pid); while docker version; do sleep 0.1; done &>/dev/null")
    machine.shell("echo 1 >/run/docker.pid; echo 1 >/run/docker/containerd/containerd.pid; test -S /run/docker.sock")
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    machine.shell("docker info")


def test_two_calls_at_once_start_one_engine(machine: Machine) -> None:
    machine.shell(f"{machine.script} & {machine.script}; wait $!")
    assert machine.engines() == 1


def test_an_engine_that_cannot_start_is_a_failure_with_its_own_words(machine: Machine) -> None:
    machine.shell("mkdir -p /run/docker.sock/a-folder-in-its-place")
    done = machine.setup()
    assert done.returncode == 4
    assert "error: the Docker engine did not start\n" in done.stderr
    assert "docker.sock: is a directory" in done.stderr
    assert "/var/log/trimtab-dockerd.log" in done.stderr


def test_without_root_and_without_an_engine_the_one_command_is_named(machine: Machine) -> None:
    done = machine.setup_as_nobody()
    assert done.returncode == 3
    assert done.stderr.endswith(f"  next: sudo {machine.script}\n")


def test_an_engine_that_this_user_may_not_use_is_told_from_none(machine: Machine) -> None:
    assert machine.setup().returncode == 0
    done = machine.setup_as_nobody()
    assert done.returncode == 3
    assert "error: this user may not use the Docker engine\n" in done.stderr
    assert "usermod -aG docker nobody" in done.stderr


def test_an_engine_named_by_docker_host_is_never_replaced_by_another(machine: Machine) -> None:
    done = machine.setup(DOCKER_HOST="unix:///run/none.sock")
    assert done.returncode == 3
    assert "unset DOCKER_HOST" in done.stderr
    assert machine.engines() == 0


def test_an_engine_named_by_docker_host_is_used(machine: Machine) -> None:
    assert machine.setup().returncode == 0
    machine.shell("mv /run/docker.sock /run/elsewhere.sock")
    assert machine.setup(DOCKER_HOST="unix:///run/elsewhere.sock").returncode == 0


def test_a_container_that_may_not_mount_is_told_how_to_be_started(machine: Machine) -> None:
    done = machine.run("setpriv", "--bounding-set=-sys_admin", machine.script)
    assert done.returncode == 3
    assert "--privileged" in done.stderr


def test_a_full_disk_is_refused_before_anything_is_installed(machine: Machine, tmp_path: Path) -> None:
    machine.shell(f"mkdir {tmp_path}/small && mount -t tmpfs -o size=64m tmpfs {tmp_path}/small")
    machine.shell(WITHOUT_DOCKERD)
    done = machine.setup("--data-root", f"{tmp_path}/small/docker")
    assert done.returncode == 3
    assert "error: too little room" in done.stderr
    assert "installing" not in done.stderr.replace("none here: installing", "")


@pytest.mark.parametrize("words", [("--purge",), ("--base",), ("--data-root", "")])
def test_arguments_that_are_wrong_are_refused(machine: Machine, words: tuple[str, ...]) -> None:
    done = machine.setup(*words)
    assert done.returncode == 2
    assert "next: scripts/setup-engine [--base IMAGE] [--data-root DIR]\n" in done.stderr

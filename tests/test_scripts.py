"""What `make` does on a machine without Java or Chromium; the package manager, `id` and `sudo` are stand-ins here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

TOOLS = ("bash", "sed", "head", "cat", "echo", "true")


@pytest.fixture()
def machine(tmp_path: Path) -> Path:
    """A folder of programs that is the whole PATH: the usual tools, no Java, no browser."""
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / tool).symlink_to(found)
    return tmp_path


def program(machine: Path, name: str, body: str) -> None:
    path = machine / name
    path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
    path.chmod(0o755)


def run(machine: Path, script: str) -> subprocess.CompletedProcess[str]:
    command = [str(shutil.which("bash")), str(ROOT / "scripts" / script)]
    return subprocess.run(command, env={"PATH": str(machine)}, capture_output=True, text=True)


def calls(machine: Path) -> list[str]:
    log = machine / "calls"
    return log.read_text().splitlines() if log.exists() else []


def test_java_is_left_alone_where_it_is_new_enough(machine: Path) -> None:
    program(machine, "java", "echo 'openjdk version \"21.0.2\" 2024-01-16' >&2")
    program(machine, "apt-get", f'echo "$@" >> {machine}/calls')
    assert run(machine, "ensure_java.sh").returncode == 0 and calls(machine) == []


def test_root_installs_the_java_that_the_distribution_has(machine: Path) -> None:
    program(machine, "java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2")
    program(machine, "id", "echo 0")
    program(machine, "apt-get", f'echo "$@" >> {machine}/calls; case "$*" in *openjdk-17*) exit 100;; esac')
    assert run(machine, "ensure_java.sh").returncode == 0
    assert [c.split()[-1] for c in calls(machine)] == ["-q", "openjdk-17-jre-headless", "openjdk-21-jre-headless"]


@pytest.mark.parametrize(
    ("script", "remedy"), [("ensure_java.sh", "openjdk-17-jre-headless"), ("ensure_chromium.sh", "chromium")]
)
def test_who_may_not_install_is_told_the_command(machine: Path, script: str, remedy: str) -> None:
    program(machine, "id", "echo 1000")
    program(machine, "sudo", "exit 1")
    program(machine, "apt-get", f'echo "$@" >> {machine}/calls')
    done = run(machine, script)
    assert done.returncode == 1 and f"sudo apt-get install -y {remedy}" in done.stderr and calls(machine) == []


def test_a_user_who_may_use_sudo_gets_chromium(machine: Path) -> None:
    program(machine, "id", "echo 1000")
    program(machine, "sudo", 'shift; "$@"')
    program(machine, "apt-get", f'echo "$@" >> {machine}/calls')
    assert run(machine, "ensure_chromium.sh").returncode == 0
    assert "chromium" in calls(machine)[-1]


def test_without_a_known_package_manager_the_command_is_said(machine: Path) -> None:
    done = run(machine, "ensure_java.sh")
    assert done.returncode == 1 and "Java 17 or 21 is needed" in done.stderr

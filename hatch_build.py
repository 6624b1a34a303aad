"""Build hook: compiles the kernels, one library per level of CPU instructions, and the watchdog into the package."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = ["-std=gnu11", "-O3", "-fPIC", "-shared", "-ffp-contract=fast", "-fno-math-errno", "-s"]
X86_LEVELS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq"],
}


OTHER_NAMES = {"amd64": "x86_64", "arm64": "aarch64", "powerpc64le": "ppc64le"}
MACHINES = {"x86_64", "aarch64", "ppc64le", "s390x", "riscv64"}
"""Whose names in a compiler's target are those of wheels; of arm or i586, for example, the target says too little."""

MACOS_TARGET = "11.0"
"""The oldest macOS that the libraries run on, unless MACOSX_DEPLOYMENT_TARGET says otherwise."""


def compiler() -> list[str] | None:
    """Return the available C compiler ($CC first), or None."""
    name = os.environ.get("CC") or next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    return shlex.split(name) if name else None


def compiler_from_pypi() -> list[str]:
    """Return zig's C compiler, which would compile for the CPU at hand if it were not told otherwise."""
    return [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"]


def target_of(command: list[str]) -> str:
    """Return the machine that a compiler compiles for, which need not be this one; this one if it does not say."""
    asked = subprocess.run([*command, "-dumpmachine"], capture_output=True, text=True, check=False)
    target = asked.stdout.strip().partition("-")[0] if asked.returncode == 0 else ""
    return (target or platform.machine()).lower()


def platform_tag(machine: str) -> str:
    """Return the tag of a wheel for a kind of machine with this system."""
    from packaging.tags import mac_platforms, platform_tags

    # conda sets this variable where it builds for another machine, and setuptools follows it, too.
    if asked := os.environ.get("_PYTHON_HOST_PLATFORM"):
        return asked.replace("-", "_").replace(".", "_")
    if sys.platform == "darwin":
        major, minor, *_ = os.environ.get("MACOSX_DEPLOYMENT_TARGET", MACOS_TARGET).split(".") + ["0"]
        return next(iter(mac_platforms((int(major), int(minor)), machine.replace("aarch64", "arm64"))))
    here, there = (OTHER_NAMES.get(name, name) for name in (platform.machine().lower(), machine))
    return f"linux_{there}" if here != there and {here, there} <= MACHINES else next(iter(platform_tags()))


def from_environment(*names: str) -> list[str]:
    """Return the flags in some of the variables that builds honour: CPPFLAGS, CFLAGS, LDFLAGS."""
    return [flag for name in names for flag in shlex.split(os.environ.get(name, ""))]


class KernelsHook(BuildHookInterface):  # type: ignore[misc]
    """Compile kernels.c and watchdog.c for wheels and for editable installs."""

    def dependencies(self) -> list[str]:
        """Request a compiler from PyPI if the machine has none."""
        if os.name == "nt":
            raise SystemExit("sccr-node does not run on Windows: install it in WSL 2, or use its container image")
        return [] if compiler() else ["ziglang"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tag the wheel: any Python 3, this platform."""
        package = Path(self.root, "sccr_node")
        command = compiler() or compiler_from_pypi()
        machine = target_of(command)
        on_x86 = machine in ("x86_64", "amd64")
        # After the environment's flags: which instructions a library may use decides the bits of the results.
        any_x86 = ["-march=x86-64"] if on_x86 and compiler() else []
        for level, flags in X86_LEVELS.items() if on_x86 else [("baseline", [])]:
            library = package / "numerics" / f"_kernels_{level}.so"
            self._compile(command, package / "numerics" / "kernels.c", library, [*any_x86, *flags], ["-lm"])
        library = package / "runtime" / "_watchdog.so"
        self._compile(command, package / "runtime" / "watchdog.c", library, any_x86, ["-pthread"])
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(machine)}"
        build_data["artifacts"] += ["sccr_node/numerics/_kernels_*.so", "sccr_node/runtime/_watchdog.so"]

    @staticmethod
    def _compile(command: list[str], source: Path, library: Path, flags: list[str], libraries: list[str]) -> None:
        partial = library.with_suffix(".partial")
        compiling = [*command, *from_environment("CPPFLAGS", "CFLAGS"), *FLAGS, *flags, str(source)]
        linking = ["-o", str(partial), *from_environment("LDFLAGS"), *libraries]
        environment = {"MACOSX_DEPLOYMENT_TARGET": MACOS_TARGET, **os.environ}
        # Renamed at the end: a process that has the old library open keeps it.
        subprocess.run([*compiling, *linking], check=True, env=environment)
        partial.replace(library)

"""The build hook with a compiler that writes down its calls: what builds set is honoured, and the target asked for."""

import importlib.util
import stat
import sys
import types

import pytest
from packaging.tags import platform_tags

from tests.support import REPOSITORY


@pytest.fixture
def hook(monkeypatch):
    """Return the module, without hatchling, which is not in the environment of the tests."""
    for name in ("hatchling", "hatchling.builders", "hatchling.builders.hooks", "hatchling.builders.hooks.plugin"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    interface = types.ModuleType("hatchling.builders.hooks.plugin.interface")
    interface.BuildHookInterface = object
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    spec = importlib.util.spec_from_file_location("hatch_build_tested", REPOSITORY / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def build(hook, tmp_path, monkeypatch):
    """Return a function that runs the hook with a compiler for some target: the libraries made, the calls."""
    for name in ("CFLAGS", "CPPFLAGS", "LDFLAGS", "MACOSX_DEPLOYMENT_TARGET", "_PYTHON_HOST_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    for folder in ("numerics", "runtime"):
        (tmp_path / "sccr_node" / folder).mkdir(parents=True)

    def run(target, **variables):
        compiler, calls = tmp_path / "a-compiler", tmp_path / "calls"
        compiler.write_text(
            f'#!/bin/sh\ncase "$*" in *-dumpmachine*) echo {target}; exit;; esac\n'
            f'echo "$MACOSX_DEPLOYMENT_TARGET $*" >> {calls}\n'
            'while [ "$1" != -o ]; do shift; done; : > "$2"\n'
        )
        compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CC", f"{compiler} --driver-mode=gcc")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        calls.unlink(missing_ok=True)
        builder = hook.KernelsHook()
        builder.root = tmp_path
        data = {"artifacts": []}
        builder.initialize("standard", data)
        assert (
            not data["pure_python"] and data["tag"] == f"py3-none-{hook.platform_tag(hook.target_of([str(compiler)]))}"
        )
        made = [path.name for path in (tmp_path / "sccr_node").glob("*/*")]
        for path in (tmp_path / "sccr_node").glob("*/*"):
            path.unlink()
        return sorted(made), calls.read_text().splitlines()

    return run


def test_the_target_is_the_compilers_not_the_machines(build):
    made, calls = build("arm64-apple-darwin20.0.0")
    assert made == ["_kernels_baseline.so", "_watchdog.so"]
    assert not any("-march" in call or "-mavx" in call for call in calls)
    made, calls = build("x86_64-conda-linux-gnu")
    assert made == ["_kernels_avx2.so", "_kernels_avx512.so", "_kernels_baseline.so", "_watchdog.so"]
    assert all("-march=x86-64" in call for call in calls)


def test_flags_of_the_environment_are_used_and_ours_have_the_last_word(build):
    _, calls = build(
        "x86_64-linux-gnu", CPPFLAGS="-DFORTIFIED=2", CFLAGS="-O1 -march=native -g", LDFLAGS="-Wl,-z,relro -L'/a b'"
    )
    for call in calls:
        words = call.split()
        assert words.index("-DFORTIFIED=2") < words.index("-O1") < words.index("-O3")
        assert words.index("-march=native") < words.index("-march=x86-64")
        assert words.index("-o") < words.index("-Wl,-z,relro") and "-L/a b" in call


def test_macos_has_an_oldest_version(build):
    assert all(call.startswith("11.0 ") for call in build("arm64-apple-darwin20.0.0")[1])
    calls = build("arm64-apple-darwin20.0.0", MACOSX_DEPLOYMENT_TARGET="12.3")[1]
    assert all(call.startswith("12.3 ") for call in calls)


def test_a_compiler_that_does_not_know_its_target_is_taken_for_this_machines(hook, monkeypatch):
    monkeypatch.setattr(hook.platform, "machine", lambda: "AMD64")
    assert hook.target_of(["false"]) == "amd64"


@pytest.mark.parametrize(
    ("system", "here", "target", "variables", "tag"),
    [
        ("linux", "x86_64", "aarch64", {}, "linux_aarch64"),
        ("linux", "aarch64", "x86_64", {}, "linux_x86_64"),
        ("darwin", "arm64", "x86_64", {}, "macosx_11_0_x86_64"),
        ("darwin", "x86_64", "arm64", {"MACOSX_DEPLOYMENT_TARGET": "12.3"}, "macosx_12_0_arm64"),
        ("linux", "x86_64", "x86_64", {"_PYTHON_HOST_PLATFORM": "linux-aarch64"}, "linux_aarch64"),
        ("darwin", "x86_64", "x86_64", {"_PYTHON_HOST_PLATFORM": "macosx-11.0-arm64"}, "macosx_11_0_arm64"),
    ],
)
def test_the_wheel_says_for_which_machine_it_is(hook, monkeypatch, system, here, target, variables, tag):
    for name in ("MACOSX_DEPLOYMENT_TARGET", "_PYTHON_HOST_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(hook.sys, "platform", system)
    monkeypatch.setattr(hook.platform, "machine", lambda: here)
    assert hook.platform_tag(target) == tag


@pytest.mark.parametrize(
    ("here", "target"),
    [("ppc64le", "powerpc64le"), ("armv7l", "arm"), ("aarch64", "arm"), ("x86_64", "i586"), ("x86_64", "x86_64")],
)
def test_a_compiler_of_this_machine_under_another_name_makes_its_wheel(hook, monkeypatch, here, target):
    monkeypatch.delenv("_PYTHON_HOST_PLATFORM", raising=False)
    monkeypatch.setattr(hook.sys, "platform", "linux")
    monkeypatch.setattr(hook.platform, "machine", lambda: here)
    assert hook.platform_tag(target) == next(iter(platform_tags()))


def test_the_wheel_for_this_machine_has_its_own_tag(hook, monkeypatch):
    monkeypatch.delenv("_PYTHON_HOST_PLATFORM", raising=False)
    own = hook.platform_tag(hook.platform.machine().lower())
    assert own in set(platform_tags())


def test_windows_is_refused_in_one_sentence(hook, monkeypatch):
    monkeypatch.setattr(hook.os, "name", "nt")
    with pytest.raises(SystemExit, match="does not run on Windows: install it in WSL 2, or use its container image$"):
        hook.KernelsHook().dependencies()

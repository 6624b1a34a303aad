"""Takes object stores away from running commands, and ends commands that use them: nothing half-done may be left.

``python -m tests.campaigns.vanishing 200`` runs commands from store to store. At a random moment the server is killed
(and is back a moment later, or stays away), the line to it is cut, or the command gets a signal. It exits with 1 if any
run crashed, hung, ended with a wrong exit code, left an object that is not whole, or something in scratch;
and if the same command, run again, does not leave the same bytes as a run that nobody disturbed, and nothing else: no
open uploads, no checkpoints, no marks.
"""

import argparse
import collections
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from tests.platforms.container_tools import set_up
from tests.platforms.store_servers import Azurite, FakeGCS, SeaweedFS

DEAF_SECONDS = 60.0
"""Longer than all attempts of a run together, and than the grace that a command gives itself."""

PROGRAM = """
import faulthandler, os, signal, sys
faulthandler.register(signal.SIGUSR1)
from sccr_node.__main__ import main
from sccr_node.storage.places import bucket, transfer
transfer.WAITS = (0.1, 0.2, 0.4, 0.8, 1.6)
transfer.PART_BYTES = int(os.environ["PART_BYTES"])
bucket.ANSWER_SECONDS_OF_A_STORE = 5  # the clients, which take it, are not imported yet
sys.exit(main())
"""
"""``sccr``, but with parts so small that large objects are sent in several, and shorter waits between its attempts and
for a server that is back and still silent; SIGUSR1 asks it where it is."""

PART_BYTES = {"s3": 5 * 2**20, "gs": 2**18, "az": 2**16}
"""The smallest that S3 and Google accept."""

LARGE = 6 * 2**20
"""Bytes of an array beside the counts, which is sent in parts to every store; values that cannot be compressed."""

EVENTS = {
    "s3": ("killed", "killed, back", "cut", "cut, back", "SIGTERM", "SIGKILL"),
    "gs": ("killed", "killed, back", "SIGTERM", "SIGKILL"),
    "az": ("cut", "cut, back", "SIGTERM", "SIGKILL"),
}
"""Google's emulator takes uploads around any line; Azurite, killed, forgets the last seconds."""

BACK_SECONDS = 0.7

SECRETS = ("testsecret", "AccountKey", "upload_id", "uploadId", "sig=")
"""What nobody may be shown."""


class Line:
    """A way to a server that can be cut: then connections end, and none is accepted."""

    def __init__(self, port):
        self._to, self._open = port, True
        self._pairs = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        self._open = False
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def mend(self):
        self._open = True

    def _accept(self):
        while True:
            near, _ = self._socket.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                near.close()
                continue
            if not self._open:
                near.close()
                far.close()
                continue
            self._pairs.append((near, far))
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source, target):
        with suppress(OSError), source, target:
            while block := source.recv(2**16):
                target.sendall(block)
            target.shutdown(socket.SHUT_RDWR)


class Store:
    """A server, the line to it, and what is disturbed."""

    def __init__(self, kind, programs, folder):
        self.server = kind(programs, folder)
        self.server.start()
        self.line = Line(self.server.port)
        self.timer = None

    def environment(self):
        """Return the variables for a command, which takes the line where the store can be reached by it."""
        found = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AZURE_", "GOOGLE_"))
        }
        port = str(self.server.port if isinstance(self.server, FakeGCS) else self.line.port)
        mine = {name: value.replace(str(self.server.port), port) for name, value in self.server.environment().items()}
        parts = str(PART_BYTES[self.server.scheme])
        return {**found, **mine, "AWS_EC2_METADATA_DISABLED": "true", "PART_BYTES": parts}

    def disturb(self, event):
        if event.startswith("killed"):
            self.server.kill()
        else:
            self.line.cut()
        if event.endswith("back"):
            self.timer = threading.Timer(BACK_SECONDS, self.restore)
            self.timer.start()

    def restore(self):
        self.line.mend()
        if not self.server.is_running():
            self.server.start()

    def undisturbed(self):
        """Wait until the store is there again, whatever has happened to it."""
        if self.timer is not None:
            self.timer.join()
            self.timer = None
        self.restore()

    def contents(self, prefix):
        return {key.removeprefix(prefix): self.server.get(key) for key in self.server.keys(prefix)}


def commands(store, name):
    """Return every kind of command: its words, and the outputs with the same bytes in every run."""
    place = store.server.address
    out = place(name)
    plain = ("--threads", "1")
    return {
        "impute h5ad": (("impute", place("in/data.h5ad"), f"{out}/o.h5ad", "--provenance", f"{out}/p.json", *plain),
                        {"o.h5ad"}),
        "impute zarr": (("impute", place("in/data.zarr"), f"{out}/o.zarr", *plain), {"o.zarr"}),
        "split": (("split", place("in/data.h5ad"), "--batch-key", "batch", "--outdir", f"{out}/s"), {"s"}),
        "resumed": (("impute", place("in/data.h5ad"), f"{out}/o.h5ad", "--checkpoint-dir", f"{out}/kept", *plain),
                    {"o.h5ad"}),
        "batch": (("batch", "--manifest", place(f"in/{name}.csv"), *plain), {"a.h5ad", "b.zarr"}),
        "check": (("batch", "--manifest", place(f"in/{name}.csv"), "--check", *plain), set()),
    }  # fmt: skip


def sccr(store, words, scratch):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        env={**store.environment(), "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def prepared(store, folder):
    """Put the inputs into a store."""

    def run(*words):
        subprocess.run([sys.executable, "-m", "sccr_node", *map(str, words), "--quiet"], check=True)

    run("simulate", folder / "data.h5ad", "--n-cells", 200, "--n-genes", 300, "--n-batches", 2, "--force")
    with h5py.File(folder / "data.h5ad", "r+") as file:
        values = np.random.default_rng(0).integers(0, 256, LARGE, np.uint8)
        file.create_dataset("uns/large", data=values).attrs.update(
            {"encoding-type": "array", "encoding-version": "0.2.0"}
        )
    run("impute", folder / "data.h5ad", folder / "data.zarr", "--key-added", "first", "--force")
    store.server.put("in/data.h5ad", (folder / "data.h5ad").read_bytes())
    for path in sorted((folder / "data.zarr").rglob("*")):
        if path.is_file():
            store.server.put(f"in/data.zarr/{path.relative_to(folder / 'data.zarr')}", path.read_bytes())


def put_manifest(store, name):
    """Put a manifest of two rows into a store."""
    source, out = store.server.address("in/data.h5ad"), store.server.address(name)
    store.server.put(f"in/{name}.csv", f"input,output\n{source},{out}/a.h5ad\n{source},{out}/b.zarr\n".encode())


def undisturbed(store, command, name, scratch):
    """Return how long a command takes that nobody disturbs, and a little more, and what it leaves."""
    put_manifest(store, name)
    begin = time.monotonic()
    process = sccr(store, commands(store, name)[command][0], scratch)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    return 1.1 * (time.monotonic() - begin), store.contents(f"{name}/")


def one(store, command, name, event, generator, scratch, seconds, whole):
    """Disturb one run; return how it ended, and what is wrong with it."""
    put_manifest(store, name)
    store.server.settle()
    words, outputs = commands(store, name)[command]
    process = sccr(store, words, scratch)
    time.sleep(generator.uniform(0.0, seconds))
    by_signal = event.startswith("SIG")
    if by_signal:
        process.send_signal(signal.Signals[event])
    else:
        store.disturb(event)
    try:
        said = process.communicate(timeout=DEAF_SECONDS)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGUSR1)
        time.sleep(1)
        process.kill()
        said = process.communicate()[0]
        store.undisturbed()
        return "deaf", [f"deaf: {said[-5000:]}"]
    store.undisturbed()
    code, wrong = process.returncode, []
    # Before Python itself is ready a signal ends it as usual.
    expected = {0, 128 + signal.SIGTERM, -signal.SIGTERM} if event == "SIGTERM" else {0, -9} if by_signal else {0, 75}
    if code not in expected:
        wrong.append(f"exit {code}: {said[-300:]}")
    if any(word in said for word in ("Traceback", *SECRETS)):
        wrong.append(f"said: {said[-1000:]}")
    if event != "SIGKILL" and (left := sorted(path.name for path in scratch.iterdir())):
        wrong.append(f"left in scratch: {left}")
    wrong += half_done(store.contents(f"{name}/"), outputs, whole, complete=code == 0)
    # And again, to the end.
    again = sccr(store, words if words[0] == "batch" else (*words, "--force"), scratch)
    said = again.communicate()[0]
    if again.returncode != 0:
        wrong.append(f"again: exit {again.returncode}: {said[-300:]}")
    there = store.contents(f"{name}/")
    wrong += [f"again: {what}" for what in half_done(there, outputs, whole, complete=True)]
    if extra := set(there) - set(whole):
        wrong.append(f"again: left {sorted(extra)}")
    if uploads := store.server.open_uploads():
        wrong.append(f"again: open uploads {uploads}")
    if left := sorted(path.name for path in scratch.iterdir()):
        wrong.append(f"again: left in scratch: {left}")
    return f"exit {code}", wrong


def half_done(there, outputs, whole, *, complete):
    """Return which outputs are neither whole nor absent; a folder without what makes it a store is not there yet."""
    wrong = []
    for output in sorted(outputs):

        def mine(found, output=output):
            return {key: data for key, data in found.items() if key == output or key.startswith(f"{output}/")}

        found, expected = mine(there), mine(whole)
        is_there = output in found or any(
            f"{output}/{node}" in found for node in (".zgroup", "zarr.json", ".sccr-split.json")
        )
        if is_there and found != expected:
            different = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
            wrong.append(f"{output} is there, and not whole: {different[:5]}")
        if complete and not is_there:
            wrong.append(f"{output} is not there")
    return wrong


def main():
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n", type=int, help="how many runs to disturb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="use only stores whose scheme contains this")
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    programs = Path(set_up("stores")["SCCR_STORES"])
    problems, outcomes = [], collections.Counter()
    kinds = {kind.scheme: kind for kind in (SeaweedFS, FakeGCS, Azurite)}
    kinds = {scheme: kind for scheme, kind in kinds.items() if arguments.only is None or arguments.only in scheme}
    with tempfile.TemporaryDirectory(prefix="vanishing-") as given:
        folder = Path(given)
        scratch = folder / "scratch"
        scratch.mkdir()
        stores = {scheme: Store(kind, programs, folder / scheme) for scheme, kind in kinds.items()}
        try:
            known = {}
            for store in stores.values():
                prepared(store, folder)
            for number in range(arguments.n):
                scheme = sorted(stores)[number % len(stores)]
                store = stores[scheme]
                command = generator.choice(sorted(commands(store, "")))
                event = generator.choice(EVENTS[scheme])
                if (scheme, command) not in known:
                    known[scheme, command] = undisturbed(store, command, f"whole-{number}", scratch)
                outcome, wrong = one(
                    store, command, f"run-{number}", event, generator, scratch, *known[scheme, command]
                )
                outcomes[f"{scheme}\t{event}\t{outcome}"] += 1
                for what in wrong:
                    problems.append(what)
                    print(f"{number}: {scheme}, {command}, {event}: {what}", flush=True)
                if (number + 1) % 20 == 0:
                    print(f"{number + 1} of {arguments.n} runs, {len(problems)} problems", flush=True)
        finally:
            for store in stores.values():
                store.server.kill()
    for row in sorted(outcomes):
        print(f"{row}\t{outcomes[row]}")
    print(f"{arguments.n} runs disturbed, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

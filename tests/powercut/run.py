#!/usr/bin/env python3
"""Simulates power cuts under `haul receive`; docs/durability.md says what must hold, docs/figures.md what was run.

Each scene is sent to a receiver on a disk that logs what is written and flushed, and in the same order what both
sides say with `--json`. From the log come the states in which a power cut may leave the device; each is mounted, and
held against these rules:

V  A name shows what was sent, or what was there before, and no other name is there but those of partial files.
D  What the sender has called delivered, or the receiver received, is there; at `synced` under its name, with its time
   and mode.
R  Of a sample: the same command again ends with success, and leaves what was sent and nothing else.

Then planted bugs must be found: builds of haul that leave out or swap a step (`--canary`), a device that ignores
flushes, and images that were changed by hand. `.ci/long powercut` builds what is needed and calls this, as root,
in namespaces of its own, so that whatever happens no mount and no process is left over.
"""

import argparse
import itertools
import mmap
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

import scenes
import system
from log import Log

# Of each recording, for a bug that is planted.
CANARY_STATES = 200

# The builds with a planted bug, and the rules that it breaks.
CANARIES = {"no-fsync": "VD", "no-dirsync": "D", "rename-first": "V"}


class Rig:
    def __init__(self, kind, folder, haul, seed, keep):
        self.kind = kind
        self.folder = folder
        self.haul = haul
        self.rng = random.Random(seed)
        self.keep = keep
        self.image = folder / "image"
        self.mount = folder / "mount"
        self.disk = folder / "disk"
        self.base = folder / "base"
        for made in (self.mount, self.disk, folder / "outbox"):
            made.mkdir()
        kind.make(self.image)
        self.content = mmap.mmap(os.open(self.image, os.O_RDWR), 0)
        self.empty = bytes(self.content)
        # Of the state that was judged last.
        self.has_partial = False

    def load(self, content):
        self.content[:] = content

    def mounted(self, read_only=False):
        return system.mounted(self.kind, self.image, self.mount, read_only=read_only)

    def outbox(self, scene):
        """The folder that is sent."""
        folder = self.folder / "outbox" / scene.name
        if not folder.exists():
            scenes.make(folder, scene.sent)
        return folder / "out"

    def prepared(self, scene):
        """The device with what the receiver has before."""
        self.load(self.empty)
        with self.mounted():
            (self.mount / "in").mkdir()
            scenes.make(self.mount / "in", scene.held)
        return bytes(self.content)

    def send(self, haul, scene, sender, receiver):
        """Sends a scene. Both sides say on these files what they do. Returns what went wrong."""
        socket = self.folder / "socket"
        inbox = self.mount / "in"
        receive = [haul, "receive", "--json", "--once", "--listen", f"unix:{socket}", inbox]
        send = [haul, "send", "--json", "--links", "preserve", self.outbox(scene), f"unix:{socket}"]
        # The receiver may not listen yet.
        send += ["--retry-for", "10s", "--limit-rate", scene.rate]
        receive += scene.receive_options()
        with (
            open(self.folder / "errors", "w+b") as errors,
            subprocess.Popen(receive, stdout=receiver, stderr=errors) as running,
        ):
            try:
                while not socket.exists() and running.poll() is None:
                    time.sleep(0.001)
                # To wait for longer is to meet a hang, which is a finding.
                sent = subprocess.run(send, stdout=sender, stderr=errors, timeout=120)
                codes = sent.returncode, running.wait(timeout=60) if sent.returncode == 0 else None
            finally:
                running.kill()
                socket.unlink(missing_ok=True)
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()
        return None if codes == (0, 0) else f"sender and receiver ended with {codes}: {said}"

    def record(self, scene, base, options, is_disturbed, haul=None, is_second=False):
        """Sends a scene to a disk that logs."""
        self.outbox(scene)
        self.base.write_bytes(base)
        log = self.folder / "log"
        with (
            system.recorded(self.base, log, self.disk),
            system.mounted(self.kind, self.disk / "disk", self.mount, options),
        ):
            if not is_second:
                scenes.make(self.mount / "in", scene.sent, sorted(scene.standing))
            with (
                open(self.disk / "sender", "r+b", buffering=0) as sender,
                open(self.disk / "receiver", "r+b", buffering=0) as receiver,
            ):
                sender.write(b'{"event":"begin"}\n')
                with disturbance(self.mount / "disturbance", is_disturbed):
                    wrong = self.send(haul or self.haul, scene, sender, receiver)
        if wrong:
            raise RuntimeError(wrong)
        return Log(log)

    def judge(self, scene, events):
        """What is wrong with the image that is loaded."""
        self.has_partial = False
        try:
            with self.mounted(read_only=True):
                tree, status = scenes.read(self.mount / "in")
                self.has_partial = any(map(scenes.is_partial, tree))
                return scenes.violations(scene, events, tree, status)
        except OSError as error:
            return [f"the image cannot be read: {error}"]

    def judge_again(self, scene):
        """What is wrong with the image that is loaded once the same was sent again."""
        try:
            with self.mounted():
                wrong = self.send(self.haul, scene, subprocess.DEVNULL, subprocess.DEVNULL)
                if wrong:
                    return [f"R: when run again, {wrong}"]
                tree, _ = scenes.read(self.mount / "in")
                wanted = scene.after()
                names = [name for name in tree.keys() | wanted if tree.get(name) != wanted.get(name)]
                return [
                    f"R: {name} holds {scenes.describe(tree.get(name))} after the command was run again"
                    for name in sorted(names)
                ]
        except OSError as error:
            return [f"the image cannot be read: {error}"]
        except subprocess.TimeoutExpired:
            return ["R: the command hung when run again"]

    def try_states(self, scene, base, log, count, said=(), every=0, lag=0):
        """Mounts states of a log. Returns what was tried, and what is wrong with the first that is wrong.

        `said`: the receipts of before. `every`: of so many states one is gone on with. `lag`: see `Log.images`.
        """
        tried = Tally()
        chosen = log.choose(count, self.rng)
        if lag:
            # With some of what was written later no file system could be mounted, which would show nothing of receipts.
            chosen = sorted({(epoch, ()) for epoch, _ in chosen})
        for (epoch, subset), content in log.images(base, chosen, lag):
            self.load(content)
            events = [*said, *log.events(epoch)]
            wrong = self.judge(scene, events)
            tried.states += 1
            files = sum(isinstance(node, bytes) for node in scene.sent.values())
            tried.partial += self.has_partial
            tried.halfway += 0 < len(scenes.receipts(events)) < files
            if every and tried.states % every == 0 and not wrong:
                self.load(content)
                wrong = self.judge_again(scene)
                tried.again += 1
                tried.resumed += self.has_partial
            if wrong:
                # One state shows what is wrong; the next ones would show the same.
                pieces = f"{len(subset)} of {len(log.epochs[epoch].pieces)} pieces"
                wrong = [f"{scene.name}, epoch {epoch}, {pieces}: {line}" for line in wrong[:5]]
                # Planted bugs are not gone on with, and known.
                if self.keep and every:
                    self.keep.mkdir(parents=True, exist_ok=True)
                    (self.keep / f"{scene.name}-{epoch}.img").write_bytes(content)
                return tried, wrong
        return tried, []


@dataclass
class Tally:
    """What was tried."""

    states: int = 0
    # Some files had a receipt, and not all.
    halfway: int = 0
    # There was a partial file.
    partial: int = 0
    # The same was sent again, and in so many of these there was a partial file.
    again: int = 0
    resumed: int = 0

    def __add__(self, other):
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other))))

    def __str__(self):
        return (
            f"{self.states} states, {self.halfway} of them between the first receipt and the last,"
            f" {self.partial} with a partial file; {self.again} sent again, {self.resumed} of them"
            " with a partial file"
        )


@contextmanager
def disturbance(path, is_wanted):
    """Somebody else who syncs a file of his own all the time, and so makes the journal commit at any moment."""
    is_over = threading.Event()

    def disturb():
        with open(path, "wb", buffering=0) as file:
            while not is_over.wait(0.003):
                file.write(b"x")
                os.fsync(file.fileno())

    thread = threading.Thread(target=disturb)
    if is_wanted:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        if is_wanted:
            thread.join()


def run_scenes(rig, states):
    """All scenes with the good build. Returns what is wrong."""
    wrong, total = [], Tally()
    kinds = list(itertools.product(rig.kind.options, (False, True)))
    all_scenes = scenes.scenes()
    # Each kind once for each scene, and once more for the transfer that goes on.
    each = -(-states // (len(kinds) * 2 * len(all_scenes)))
    for scene in all_scenes:
        base = rig.prepared(scene)
        tally, epochs, before = Tally(), 0, len(wrong)
        for options, is_disturbed in kinds:
            log = rig.record(scene, base, options, is_disturbed)
            tried, found = rig.try_states(scene, base, log, each, every=8)
            tally += tried
            wrong += found
            epochs += len(log.epochs) - log.begin
            # The power goes in the middle, and again while the transfer goes on.
            middle = rig.rng.choice(log.choose(each, rig.rng))
            ((epoch, _), content), = log.images(base, [middle])
            rig.load(content)
            with rig.mounted():
                pass
            broken = bytes(rig.content)
            said = list(scenes.receipts(log.events(epoch)).values())
            log = rig.record(scene, broken, options, is_disturbed, is_second=True)
            tried, found = rig.try_states(scene, broken, log, each, said=said, every=8)
            tally += tried
            wrong += found
            epochs += len(log.epochs) - log.begin
        print(f"{scene.name}: {epochs} epochs, {tally}; {len(wrong) - before} violations", flush=True)
        total += tally
    print(f"all: {total}; {len(wrong)} violations", flush=True)
    return wrong


def run_canaries(rig, canaries, states):
    """Plants bugs. Returns the names of those that were not found."""
    missed = []

    def report(name, rules, tried, found):
        """`rules`: those that this bug breaks. Anything else that is wrong does not show that it was found."""
        shown = [line for line in found if any(f"{rule}: " in line for rule in rules)]
        print(f"canary {name}: {shown[0] if shown else f'MISSED {found}'} (state {tried})", flush=True)
        if not shown:
            missed.append(name)

    all_scenes = {scene.name: scene for scene in scenes.scenes()}
    for name, haul in canaries:
        haul = Path(haul).resolve()
        tried, found = 0, []
        for options, is_disturbed in itertools.product(rig.kind.options[:1], (False, True)):
            for scene in (all_scenes["tree"], all_scenes["large"], all_scenes["replace"]):
                if not found:
                    base = rig.prepared(scene)
                    log = rig.record(scene, base, options, is_disturbed, haul)
                    tally, found = rig.try_states(scene, base, log, states)
                    tried += tally.states
        report(name, CANARIES[name], tried, found)

    scene = all_scenes["tree"]
    base = rig.prepared(scene)
    log = rig.record(scene, base, rig.kind.options[0], False)
    # The last flushes are for the times of folders, which are nobody's matter after a receipt.
    for lag in (1, 2, 4, 8):
        tally, found = rig.try_states(scene, base, log, states, lag=lag)
        if found:
            break
    report(f"device that ignores its last flushes, {lag} of them", "D", tally.states, found)

    # The last state, in which all is delivered, changed by hand.
    last = len(log.epochs) - 1
    (_, content), = log.images(base, [(last, ())])
    content = bytes(content)
    events = log.events(last)
    rig.load(content)
    if found := rig.judge(scene, events):
        raise RuntimeError(f"nothing was changed yet: {found}")

    def plant(name, rule, change, judge):
        rig.load(content)
        with rig.mounted():
            change(rig.mount / "in/out")
        report(name, rule, 1, judge())

    def flip(folder):
        with open(folder / "larger", "r+b") as file:
            file.seek(500_000)
            byte = file.read(1)[0]
            file.seek(500_000)
            file.write(bytes([byte ^ 1]))

    def now():
        return rig.judge(scene, events)

    def again():
        return rig.judge_again(scene)

    plant("flipped bit", "V", flip, now)
    plant("file that is missing", "D", lambda folder: (folder / "a/f1").unlink(), now)
    plant("time that is missing", "D", lambda folder: os.utime(folder / "a/f1"), now)
    plant("folder that is missing", "D", lambda folder: (folder / "nothing").rmdir(), now)
    plant("name that was not sent", "V", lambda folder: (folder / "stray").touch(), now)
    part = ".haul-0123456789abcdef.part"
    plant("partial file left over", "R", lambda folder: (folder / part).touch(), again)
    plant("file in the way", "R", lambda folder: (folder / "f0").write_bytes(b"x"), again)
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="an empty one, which is mounted over")
    parser.add_argument("--haul", type=Path, required=True, help="the command")
    parser.add_argument(
        "--canary", action="append", default=[], metavar="NAME=PATH", help="a build with a planted bug"
    )
    parser.add_argument("--fs", choices=system.FILE_SYSTEMS, default="ext4")
    parser.add_argument("--states", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--keep", type=Path, help="where images go that break a rule")
    arguments = parser.parse_args()
    canaries = [canary.split("=", 1) for canary in arguments.canary]
    os.umask(0o022)
    # It chooses among the states of what was recorded; when things happened is different each time.
    print(f"seed {arguments.seed}, {arguments.fs}", flush=True)
    started = time.monotonic()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "powercut", arguments.folder], check=True)
    try:
        kind = system.FILE_SYSTEMS[arguments.fs]
        rig = Rig(kind, arguments.folder, arguments.haul.resolve(), arguments.seed, arguments.keep)
        wrong = run_scenes(rig, arguments.states)
        missed = run_canaries(rig, canaries, CANARY_STATES)
    finally:
        subprocess.run(["umount", "--lazy", arguments.folder], check=True)
    for line in wrong:
        print(line)
    print(f"{time.monotonic() - started:.0f} s")
    if wrong or missed:
        sys.exit(f"{len(wrong)} violations, {len(missed)} canaries missed")


if __name__ == "__main__":
    main()

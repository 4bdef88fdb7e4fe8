"""Runs the second implementation of the wire against haul, in either role: `sessions.py HAUL` (the command).

Each session has a folder and a Unix socket of its own. Any failure names its session and ends the run.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

from peer import (BLOCK, CHANGED, CLAIM, END, KEPT, OFFER, OVER, ROOTS, SAME, TIMES, UNCHANGED, ZEROS,
                  Aborted, Link, Receiver, Sender, Sending, blake3)

HAUL = os.path.abspath(sys.argv[1])
# Nothing here depends on how fast the machine is: this ends what hangs.
PATIENCE = 120
WHEN = (1_600_000_000, 0)


def content(seed, length):
    out = b""
    while len(out) < length:
        out += blake3(f"{seed} {len(out)}".encode())
    return out[:length]


LONG, OTHER, SMALL = content(1, 3500), content(2, 3500), content(3, 700)


class Haul:
    """The command, with a folder and a socket, until the session is over."""

    def __init__(self, folder):
        self.folder, self.path = folder, os.path.join(folder, "socket")
        self.root = os.path.join(folder, "files")
        os.mkdir(self.root)
        self.program = None

    def write(self, name, data, when=None):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        if when:
            os.utime(path, ns=(when * 10**9, when * 10**9))

    def read(self):
        files = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    files[os.path.relpath(path, self.root)] = file.read()
        return files

    def start(self, *arguments, stdin=None):
        self.program = subprocess.Popen([HAUL, *arguments], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        if stdin is not None:
            self.program.stdin.write(stdin)
        self.program.stdin.close()
        self.program.stdin = None

    def connect(self):
        end = time.monotonic() + PATIENCE
        while True:
            stream = socket.socket(socket.AF_UNIX)
            stream.settimeout(PATIENCE)
            try:
                stream.connect(self.path)
                return stream
            except OSError:
                stream.close()
                assert self.program.poll() is None and time.monotonic() < end, "haul does not listen"
                time.sleep(0.01)

    def ends(self, *codes):
        _, said = self.program.communicate(timeout=PATIENCE)
        assert self.program.returncode in codes, f"exit code {self.program.returncode}\n{said.decode()}"

    def stop(self, complains=False):
        if self.program and self.program.poll() is None:
            self.program.send_signal(signal.SIGKILL)
        if self.program and not self.program.stderr.closed:
            sys.stderr.buffer.write(self.program.communicate()[1] if complains else b"")
            self.program.stderr.close()
            self.program.wait()


SESSIONS = []


# The second implementation sends.


def send(haul, entries, *options, cuts=(), exponent=0):
    """Sends over one connection more than there are cuts; gives the sender."""
    haul.start("receive", haul.root, "--listen", f"unix:{haul.path}", *options)
    sender = Sender(entries, exponent)
    for cut in (*cuts, None):
        with haul.connect() as stream:
            assert sender.run(stream, cut) is (cut is None)
    return sender


def outcomes(sender):
    return [entry.outcome[:2] for entry in sender.entries]


def send_new(entries):
    """Files that are new arrive as they are."""
    def run(haul):
        sender = send(haul, entries())
        assert outcomes(sender) == [("stored", entry.name.decode()) for entry in sender.entries], outcomes(sender)
        files = {entry.name.decode(): entry.data for entry in sender.entries if entry.kind == 0}
        assert haul.read() == files
    return run


NEW = {
    "empty": lambda: [Sending("a")],
    "empty inline": lambda: [Sending("a", inline=True)],
    "one block": lambda: [Sending("a", SMALL)],
    "inline": lambda: [Sending("a", SMALL, inline=True)],
    "inline of a whole block": lambda: [Sending("a", LONG[:1024], inline=True)],
    "several blocks": lambda: [Sending("a", LONG)],
    "whole blocks": lambda: [Sending("a", LONG[:2048])],
    "a stream": lambda: [Sending("a", LONG, sized=False)],
    "a stream of whole blocks": lambda: [Sending("a", LONG[:2048], sized=False)],
    "an empty stream": lambda: [Sending("a", sized=False)],
    "zeros": lambda: [Sending("a", bytes(2048) + LONG + bytes(300))],
    "a stream of zeros": lambda: [Sending("a", bytes(3000), sized=False)],
    "times and modes": lambda: [Sending("a", LONG, time=WHEN, mode=0o640)],
    "a folder after what it holds": lambda: [Sending("d/a", LONG), Sending("d/b", SMALL, inline=True),
                                             Sending("d", kind=1, time=WHEN, mode=0o755)],
    "many entries": lambda: [Sending(f"f{number}", content(number, 100 * number), inline=number % 3 == 0 and number < 11)
                             for number in range(20)],
    "a damaged block": lambda: [Sending("a", LONG, damage=[1])],
    "two damaged blocks of a stream": lambda: [Sending("a", LONG, damage=[0, 2], sized=False)],
    "damaged inline content": lambda: [Sending("a", SMALL, inline=True, damage=[0])],
    "by root, not held": lambda: [Sending("a", SMALL, by_root=True)],
}
for what, entries in NEW.items():
    SESSIONS.append((f"sender: {what}", send_new(entries)))


def sending(what):
    return lambda run: SESSIONS.append((f"sender: {what}", run))


@sending("cut after a block, and again, and then all of it")
def _(haul):
    sender = send(haul, [Sending("a", LONG), Sending("b", SMALL)], cuts=[1, 2])
    assert outcomes(sender) == [("stored", "a"), ("stored", "b")]
    assert haul.read() == {"a": LONG, "b": SMALL}
    # What was kept is said and does not travel again.
    assert KEPT in sender.log and sender.said == [("block", 3), ("block", 0)], sender.said


@sending("cut stream")
def _(haul):
    sender = send(haul, [Sending("a", LONG, sized=False)], cuts=[2])
    assert haul.read() == {"a": LONG} and ("block", 0) not in sender.said


def existing(policy, sized, is_equal, expected, files):
    def run(haul):
        haul.write("a.txt", LONG if is_equal else OTHER)
        sender = send(haul, [Sending("a.txt", LONG, sized=sized)], "--existing", policy)
        assert outcomes(sender) == [expected], outcomes(sender)
        assert haul.read() == files
        # The content travels where it must, and where a comparison needs all of it.
        travels = ("block", 1) in sender.said
        assert travels == ((expected[0] == "stored") or not (sized or policy == "replace")), sender.said
    return run


for sized in (True, False):
    kind = "a file" if sized else "a stream"
    for policy in ("refuse", "skip", "rename", "replace"):
        held = ("held", "a.txt")
        SESSIONS.append((f"sender: {kind} that is there, policy {policy}",
                         existing(policy, sized, True, held, {"a.txt": LONG})))
    for policy, outcome, files in (
            ("refuse", ("refused", 1), {"a.txt": OTHER}),
            ("skip", ("refused", 2), {"a.txt": OTHER}),
            ("rename", ("stored", "a (1).txt"), {"a.txt": OTHER, "a (1).txt": LONG}),
            ("replace", ("stored", "a.txt"), {"a.txt": LONG})):
        SESSIONS.append((f"sender: {kind} where another is, policy {policy}",
                         existing(policy, sized, False, outcome, files)))


@sending("an equal file that is claimed without a root, policy rename")
def _(haul):
    haul.write("a", LONG)
    sender = send(haul, [Sending("a", LONG, claims=False)], "--existing", "rename")
    assert outcomes(sender) == [("stored", "a (1)")]


@sending("a file that differs in one block, policy replace")
def _(haul):
    haul.write("a", LONG[:1024] + OTHER[1024:2048] + LONG[2048:])
    sender = send(haul, [Sending("a", LONG)], "--existing", "replace")
    assert haul.read() == {"a": LONG}
    assert sender.said == [("same", 0), ("block", 1), ("same", 2), ("same", 3)], sender.said


@sending("a stream shorter than the file of its name, policy replace")
def _(haul):
    haul.write("a", LONG)
    sender = send(haul, [Sending("a", LONG[:2048], sized=False)], "--existing", "replace")
    assert haul.read() == {"a": LONG[:2048]} and ("same", 0) in sender.said


@sending("by root, held")
def _(haul):
    haul.write("a", SMALL)
    sender = send(haul, [Sending("a", SMALL, by_root=True)])
    assert outcomes(sender) == [("held", "a")] and sender.features & ROOTS


@sending("by time, unchanged and changed")
def _(haul):
    haul.write("a", OTHER, WHEN[0])
    haul.write("b", OTHER, WHEN[0] + 1)
    options = ("--existing", "replace")
    files = [Sending("a", LONG, time=WHEN, by_time=True), Sending("b", LONG, time=WHEN, by_time=True)]
    sender = send(haul, files, *options)
    assert sender.features & TIMES and CHANGED in sender.log
    assert outcomes(sender) == [("unchanged",), ("stored", "b")]
    assert haul.read() == {"a": OTHER, "b": LONG}


@sending("names that are refused, by their codes")
def _(haul):
    names = {"../a": 4, "CON": 4, "x/nul.txt": 4, "a.": 4, ".haul-1.part": 4, "HAUL-0~1.PAR": 4, "a" * 256: 18,
             "/".join("a" * 129): 18, ".hidden": 19, "com\u00b9": 4, "CONIN$": 4}
    sender = send(haul, [Sending(name, LONG) for name in names])
    assert outcomes(sender) == [("refused", code) for code in names.values()], outcomes(sender)
    assert haul.read() == {}


@sending("a link, which is refused")
def _(haul):
    sender = send(haul, [Sending("l", kind=2, target=b"a"), Sending("a", SMALL)])
    assert outcomes(sender) == [("refused", 6), ("stored", "a")], outcomes(sender)


@sending("withdrawn instead of its blocks")
def _(haul):
    sender = send(haul, [Sending("a", LONG, withdraw=True), Sending("b", SMALL)])
    assert haul.read() == {"b": SMALL} and outcomes(sender)[1] == ("stored", "b")


@sending("another root at the end")
def _(haul):
    sender = send(haul, [Sending("a", LONG, lie=bytes(32))])
    assert outcomes(sender) == [("refused", 15)] and haul.read() == {}


@sending("an attempt that is not the newest is told")
def _(haul):
    haul.start("receive", haul.root, "--listen", f"unix:{haul.path}")
    first, late = Sender([Sending("a", LONG)]), Sender([Sending("a", LONG)])
    with haul.connect() as stream:
        assert not first.run(stream, 1, attempt=5)
        with haul.connect() as second:
            try:
                late.run(second, attempt=5)
                raise AssertionError("it was served")
            except Aborted as aborted:
                assert aborted.args == (6,), aborted


@sending("a process that claims the transfer has it from the one before")
def _(haul):
    haul.start("receive", haul.root, "--listen", f"unix:{haul.path}")
    first, later = Sender([Sending("a", LONG)]), Sender([Sending("a", LONG)])
    with haul.connect() as stream:
        assert not first.run(stream, 1)
        with haul.connect() as second:
            assert not later.run(second, 2)
            assert first.attempt < later.attempt
            try:
                with haul.connect() as third:
                    first.run(third)
                raise AssertionError("it was served")
            except Aborted as aborted:
                assert aborted.args == (6,), aborted
        with haul.connect() as fourth:
            assert later.run(fourth)
    assert haul.read() == {"a": LONG}, haul.read().keys()


def breach(what, say):
    """A sender that breaks a rule hears code 2, wherever it has a floor to hear it with."""
    def run(haul):
        haul.start("receive", haul.root, "--listen", f"unix:{haul.path}")
        with haul.connect() as stream:
            link = Link(stream, True)
            link.greet()
            while link.hear()[0] != OVER:
                pass
            say(link)
            link.over(True)
            try:
                link.hear()
                raise AssertionError("it was taken")
            except Aborted as aborted:
                assert aborted.args == (2,), aborted
    SESSIONS.append((f"sender: breach: {what}", run))


breach("a message without the layout of its kind", lambda link: link.say(CLAIM, bytes(5)))
breach("an entry that was never offered", lambda link: link.say(END, bytes(44)))
breach("waits with nothing pending", lambda link: None)


# The second implementation receives.


def receive(haul, receiver, *arguments, codes=(0,), stdin=None, cuts=()):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(haul.path)
    listener.listen()
    listener.settimeout(PATIENCE)
    arguments = arguments or (os.path.join(haul.root, "."),)
    haul.start("send", "--block-size", "1KiB", "--retry-for", "60s", *arguments, f"unix:{haul.path}", stdin=stdin)
    with listener:
        for cut in (*cuts, None):
            stream, _ = listener.accept()
            stream.settimeout(PATIENCE)
            with stream:
                assert receiver.run(stream, cut) is (cut is None)
    haul.ends(*codes)
    return receiver


def receiving(what):
    return lambda run: SESSIONS.append((f"receiver: {what}", run))


def receive_one(what, data, receiver=Receiver, codes=(0,), check=lambda receiver: True, name="a.txt", when=None,
                options=(), expected=None, cuts=()):
    def run(haul):
        haul.write(name, data, when)
        got = receive(haul, receiver(), *options, os.path.join(haul.root, name), codes=codes, cuts=cuts)
        assert got.files == ({name: data} if expected is None else expected), sorted(got.files)
        assert check(got), (got.log, got.said)
    SESSIONS.append((f"receiver: {what}", run))


receive_one("an empty file", b"")
receive_one("a small file, inside its offer", SMALL, check=lambda got: BLOCK not in got.log)
receive_one("several blocks", LONG, check=lambda got: got.log.count(BLOCK) == 4)
receive_one("zeros", bytes(5000) + LONG, check=lambda got: ZEROS in got.log)
receive_one("heartbeats", LONG, lambda: Receiver(heartbeats=3))
receive_one("a damaged block", LONG, lambda: Receiver(damaged=[2]), check=lambda got: got.log.count(BLOCK) == 5)
receive_one("damaged content inside its offer", SMALL, lambda: Receiver(damaged=[0]),
            check=lambda got: BLOCK in got.log and END in got.log)
receive_one("a partial file, in pieces", LONG, lambda: Receiver(partial={"a.txt": LONG[:2048]}, piece=1),
            check=lambda got: SAME in got.log and got.log.count(BLOCK) == 2)
receive_one("refused", LONG, lambda: Receiver(turn_away=16), codes=(4,), expected={})
receive_one("cut and remembered", LONG, cuts=[2], check=lambda got: got.log.count(BLOCK) == 2)
receive_one("cut twice", LONG, cuts=[1, 1], check=lambda got: got.log.count(BLOCK) == 2)
for policy, codes, name in (("refuse", (4,), None), ("skip", (0, 4), None), ("rename", (0,), "a (1).txt"),
                            ("replace", (0,), "a.txt")):
    def make(data, policy=policy):
        return lambda: Receiver(files={"a.txt": data}, existing=policy)
    claims = (lambda got: SAME in got.log) if policy == "replace" else (lambda got: CLAIM in got.log)
    receive_one(f"a file that is there, policy {policy}", LONG, make(LONG), check=claims)
    receive_one(f"another file is there, policy {policy}", LONG, make(OTHER), codes=codes,
                expected={"a.txt": OTHER, **({name: LONG} if name else {})})
receive_one("by root, held", SMALL, lambda: Receiver(files={"a.txt": SMALL}, features=ROOTS),
            check=lambda got: BLOCK not in got.log)
receive_one("by root, not held", SMALL, lambda: Receiver(features=ROOTS), check=lambda got: BLOCK in got.log)
receive_one("by time, unchanged", LONG, lambda: Receiver(files={"a.txt": OTHER[:3500]}, times={"a.txt": WHEN},
                                                         features=TIMES),
            when=WHEN[0], options=("--trust-times",), expected={"a.txt": OTHER}, check=lambda got: UNCHANGED in got.said)
receive_one("by time, changed", LONG, lambda: Receiver(features=TIMES), when=WHEN[0], options=("--trust-times",),
            check=lambda got: got.log.count(OFFER) == 2)
receive_one("larger blocks than it takes", content(5, 5000), lambda: Receiver(exponent=0),
            check=lambda got: got.log.count(BLOCK) == 5)


@receiving("a stream")
def _(haul):
    got = receive(haul, Receiver(), "-", "--name", "s", stdin=LONG)
    assert got.files == {"s": LONG}


def over_a_stream(policy, mine, codes, expected):
    def run(haul):
        got = receive(haul, Receiver(files={"s": mine}, existing=policy), "-", "--name", "s", stdin=LONG[:2500],
                      codes=codes)
        assert got.files == expected, got.files
    SESSIONS.append((f"receiver: a stream shorter than the file of its name, policy {policy}", run))


over_a_stream("rename", LONG, (0,), {"s": LONG, "s (1)": LONG[:2500]})
over_a_stream("replace", LONG, (0,), {"s": LONG[:2500]})
over_a_stream("refuse", LONG, (4,), {"s": LONG})


@receiving("a tree")
def _(haul):
    files = {"d/a": SMALL, "d/e/b": LONG, "d/c": b""}
    for name, data in files.items():
        haul.write(name, data)
    got = receive(haul, Receiver(), os.path.join(haul.root, "d"))
    assert got.files == files and set(got.folders) == {"d", "d/e"}


def main():
    # All of it takes seconds; what hangs is ended by the deadlines above.
    signal.alarm(1200)
    for what, run in SESSIONS:
        with tempfile.TemporaryDirectory() as folder:
            haul = Haul(folder)
            try:
                run(haul)
            except BaseException:
                print(f"failed: {what}", flush=True)
                haul.stop(complains=True)
                raise
            haul.stop()
        print(f"agreed: {what}", flush=True)
    print(f"{len(SESSIONS)} sessions agreed")


main()

#!/usr/bin/env python3
"""Races haul against what is installed of nc, socat, tar over these, rsync, scp, and the first two programs.

    benches/peers/race.py [--rounds N] [--scale S] [--job JOB]... [--plot FILE]
    benches/peers/race.py --growth [--rounds N] [--scale S]       haul alone, with ever more of it

Decides whether haul is the tool to take for a job: each tool moves the same files over loopback, all tools by turns in one
run, so that a machine that is noisy is so for each of them. A round counts from the start of the sender until both ends
have exited; CPU seconds and memory are those of both ends with all of their children. The first round warms the page
cache and is compared byte by byte; it does not count. The ratio is that of medians, and above 1 where haul is faster.

It needs GNU time. Each run gets a folder of its own, since a file system is slow after many deletions. `memory` jobs run in /dev/shm, `disk`
jobs in target/. haul checks and receipts everything in each of its rows; the rows without a name of their own are encrypted.
"""

import argparse
import filecmp
import getpass
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SEED = REPOSITORY / "tests" / "seed"
LOOPBACK = "127.0.0.1"


class Process:
    """A child with what it and its own children used, by GNU time: what Python would see is not below its own memory."""

    def __init__(self, command, cwd=None, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=None):
        self.command = command
        self.usage = tempfile.NamedTemporaryFile()
        self.reader = None
        timed = ["/usr/bin/time", "-q", "-o", self.usage.name, "-f", "%U %S %M", *command]
        self.child = subprocess.Popen(
            timed, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=env, start_new_session=True
        )

    def line(self, stream, pattern):
        """Reads lines of the child until one has what is looked for."""
        pipe = getattr(self.child, stream)
        for line in pipe:
            found = re.search(pattern, line.decode())
            if found:
                # What it says from now on: one that cannot write it would wait, or fail.
                self.reader = threading.Thread(target=pipe.read, daemon=True)
                self.reader.start()
                return found.group(1)
        raise RuntimeError(f"{self.command}: ended without {pattern}")

    def finish(self, may_fail=False):
        code = self.child.wait()
        if self.reader:
            self.reader.join()
        if code and not may_fail:
            raise RuntimeError(f"{self.command}: exit {code}")
        user, system, kib = self.usage.read().split()
        self.cpu, self.memory = float(user) + float(system), int(kib) / 1024
        return self

    def wait_idle(self):
        """Waits until a daemon has seen its connections end: their processes are the other end."""
        (daemon,) = children(self.child.pid)
        while children(daemon):
            time.sleep(0.001)

    def stop(self):
        # GNU time ignores this one, its child does not.
        os.killpg(self.child.pid, signal.SIGINT)
        return self.finish(may_fail=True)


def children(process):
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


class Run:
    """What one transfer took."""

    def __init__(self, began, sender, end_receiver):
        self.seconds = time.monotonic() - began
        receiver = end_receiver()
        self.cpu = sender.cpu + receiver.cpu
        self.memory = max(sender.memory, receiver.memory)


def free_port():
    """A port that was free: for daemons that do not print which they took."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return listener.getsockname()[1]


def wait_for(port):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.01)
    raise RuntimeError(f"nobody listens on {port}")


def by_turns(receiver, sender):
    began = time.monotonic()
    sending = Process(*sender).finish()
    receiver.finish()
    return Run(began, sending, lambda: receiver)


class Haul:
    def __init__(self, name, receive=(), send=()):
        self.name, self.receive, self.send = name, receive, send

    def installed(self, race):
        return race.haul.exists()

    def run(self, race, source, target):
        command = [race.haul, "receive", *self.receive, ".", "--listen", f"{LOOPBACK}:0", "--once", "--json", "-q"]
        receiver = Process(command, target, stdout=subprocess.PIPE, env=race.environment)
        address = receiver.line("stdout", r'"address":"([^"]*)"')
        sender = [race.haul, "send", "-q", *self.send, *sorted(os.listdir(source)), address]
        return by_turns(receiver, (sender, source, subprocess.DEVNULL, subprocess.DEVNULL, race.environment))


class Pipe:
    """What fills a socket, and what empties it: shell commands with PORT in the sender's."""

    def __init__(self, name, tools, receive, send, port):
        self.name, self.tools, self.receive, self.send, self.port = name, tools, receive, send, port

    def installed(self, race):
        return all(map(shutil.which, self.tools))

    def run(self, race, source, target):
        stream, pattern = self.port
        shell = ["bash", "-o", "pipefail", "-c"]
        pipes = {stream: subprocess.PIPE}
        receiver = Process([*shell, self.receive], target, **pipes)
        port = receiver.line(stream, pattern)
        return by_turns(receiver, ([*shell, self.send.replace("PORT", port)], source))


class Seed:
    name = "first programs"

    def installed(self, race):
        return True

    def run(self, race, source, target):
        (name,) = os.listdir(source)
        receiver = Process(
            [sys.executable, SEED / "bob.py", LOOPBACK, "0", name], target, stdout=subprocess.PIPE
        )
        port = receiver.line("stdout", r"listening on .*:(\d+)")
        return by_turns(receiver, ([sys.executable, SEED / "alice.py", LOOPBACK, port, name], source))


class Rsync:
    def __init__(self, name, *options):
        self.name, self.options = name, options

    def installed(self, race):
        return shutil.which("rsync")

    def run(self, race, source, target):
        port = free_port()
        config = race.folder / "rsyncd.conf"
        config.write_text(f"use chroot = no\nuid = {os.getuid()}\ngid = {os.getgid()}\n[in]\npath = {target}\nread only = no\n")
        daemon = Process(["rsync", "--daemon", "--no-detach", f"--config={config}", f"--port={port}", f"--address={LOOPBACK}"])
        wait_for(port)
        began = time.monotonic()
        command = ["rsync", "-a", *self.options, "./", f"rsync://{LOOPBACK}:{port}/in/"]
        sender = Process(command, source).finish()
        daemon.wait_idle()
        return Run(began, sender, daemon.stop)


class Scp:
    name = "scp"

    def installed(self, race):
        return shutil.which("scp") and shutil.which("sshd")

    def run(self, race, source, target):
        folder = race.folder / "ssh"
        if not folder.exists():
            folder.mkdir(mode=0o700)
            for key in ("host", "user"):
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
            shutil.copy(folder / "user.pub", folder / "authorized")
            Path("/run/sshd").mkdir(exist_ok=True)
        port = free_port()
        server = [shutil.which("sshd"), "-D", "-e", "-f", "/dev/null", "-h", folder / "host", "-p", str(port)]
        options = {"ListenAddress": LOOPBACK, "AuthorizedKeysFile": folder / "authorized", "StrictModes": "no", "UsePAM": "no",
                   "PidFile": "none", "Subsystem": "sftp internal-sftp", "PermitRootLogin": "yes"}
        daemon = Process([*server, *(f"-o{key}={value}" for key, value in options.items())])
        wait_for(port)
        began = time.monotonic()
        trust = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR"]
        names = sorted(os.listdir(source))
        command = ["scp", "-q", "-r", "-F", "/dev/null", "-i", folder / "user", *trust, "-P", str(port), *names]
        sender = Process([*command, f"{getpass.getuser()}@{LOOPBACK}:{target}"], source).finish()
        daemon.wait_idle()
        return Run(began, sender, daemon.stop)


NC = ("stderr", r"on \S+ (\d+)")
SOCAT = ("stderr", r"listening on .*:(\d+)")
SOCAT_LISTEN = f"socat -u -b 1048576 -d -d TCP-LISTEN:0,bind={LOOPBACK}"
NC_FILE = Pipe("nc", ["nc"], f"nc -l -n -v {LOOPBACK} 0 >file", f"nc -N {LOOPBACK} PORT <file", NC)
SOCAT_FILE = Pipe(
    "socat, 1 MiB", ["socat"], f"{SOCAT_LISTEN} CREATE:file", f"socat -u -b 1048576 OPEN:file TCP:{LOOPBACK}:PORT", SOCAT
)
TAR_NC = Pipe("tar over nc", ["tar", "nc"], f"nc -l -n -v {LOOPBACK} 0 | tar x", f"tar c * | nc -N {LOOPBACK} PORT", NC)
TAR_SOCAT = Pipe(
    "tar over socat", ["tar", "socat"], f"{SOCAT_LISTEN} - | tar x", f"tar c * | socat -u -b 1048576 - TCP:{LOOPBACK}:PORT", SOCAT
)
RECEIVED = ("--durability", "received")
CLEAR = Haul("haul, --insecure", ("--insecure", *RECEIVED), ("--insecure",))
KEYS = Haul("haul", RECEIVED)


def large(race, folder):
    write(folder / "file", int(race.scale * (1 << 30)))


def one(_, folder):
    write(folder / "file", 1024)


def tree(count):
    def make(race, folder):
        for number in range(max(1, int(race.scale * count))):
            place = folder / "tree" / f"d{number // 500:03}"
            place.mkdir(parents=True, exist_ok=True)
            write(place / f"file{number % 500:03}.txt", 4096)

    return make


def write(path, size):
    noise = random.Random(str(path.name))
    with open(path, "wb") as file:
        while size > 0:
            piece = noise.randbytes(min(size, 1 << 20))
            file.write(piece)
            size -= len(piece)


# Job: what it is, where, how its files are made, whether they are there already, who races. The first is the measure.
JOBS = {
    "large": ("1 GiB in one file", "memory", large, False, [CLEAR, KEYS, NC_FILE, SOCAT_FILE, Rsync("rsync daemon"), Scp(), Seed()]),
    "small": ("20,000 files of 4 KiB", "memory", tree(20000), False, [CLEAR, KEYS, TAR_NC, TAR_SOCAT, Rsync("rsync daemon"), Scp()]),
    "disk": (
        "5,000 files of 4 KiB", "disk", tree(5000), False,
        [CLEAR, Haul("haul, flushed", ("--insecure", "--durability", "flushed"), ("--insecure",)),
         Haul("haul, synced", ("--insecure", "--durability", "synced"), ("--insecure",)),
         TAR_NC, Rsync("rsync daemon"), Rsync("rsync daemon, --fsync", "--fsync")],
    ),
    "again": (
        "20,000 files of 4 KiB that are there already", "memory", tree(20000), True,
        [CLEAR, Haul("haul, --trust-times", ("--insecure", *RECEIVED), ("--insecure", "--trust-times")),
         Rsync("rsync daemon"), Rsync("rsync daemon, -c", "-c")],
    ),
    "one": ("1 KiB", "memory", one, False, [CLEAR, KEYS, NC_FILE, SOCAT_FILE]),
}


# What grows: how it is made, what is counted, and how many of it.
GROWTH = {
    "bytes in one file": (lambda size: lambda race, folder: write(folder / "file", int(race.scale * size)),
                          [100 << 20, 1 << 30, 4 << 30]),
    "files of 4 KiB": (tree, [2_000, 20_000, 200_000]),
}


def growth(race):
    """The time for each byte and each file should stay level, however many there are."""
    print("| | how many | seconds | microseconds for 1,000 bytes, or for one file | largest process, MiB |")
    print("| --- | --- | --- | --- | --- |")
    for what, (make, counts) in GROWTH.items():
        for count in counts:
            JOBS["growth"] = (what, "memory", make(count), False, [CLEAR])
            _, _, runs = race.job("growth")
            (taken,) = runs.values()
            seconds = statistics.median(run.seconds for run in taken)
            units = race.scale * count / (1000 if what.startswith("bytes") else 1)
            memory = max(run.memory for run in taken)
            print(f"| {what} | {race.scale * count:,.0f} | {seconds:.3f} | {1e6 * seconds / units:.3f} | {memory:.0f} |")


class Race:
    def __init__(self, arguments, folder, disk):
        self.folder, self.disk, self.rounds, self.scale = folder, disk, arguments.rounds, arguments.scale
        self.haul = Path(arguments.haul).resolve()
        self.environment = {**os.environ, "HAUL_CONFIG_DIR": str(folder / "config")}

    def job(self, name):
        what, where, make, is_there, tools = JOBS[name]
        base = self.folder if where == "memory" else self.disk
        source = base / f"{name}-out"
        source.mkdir()
        make(self, source)
        tools = [tool for tool in tools if tool.installed(self)]
        runs = {tool.name: [] for tool in tools}
        for round_ in range(self.rounds + 1):
            # Each tool is the first of a round in its turn: that one may find memory that the last round has not given back.
            for turn in range(len(tools)):
                tool = tools[(turn + round_) % len(tools)]
                target = base / f"{name}-in"
                target.mkdir()
                if is_there:
                    subprocess.run(["cp", "-a", f"{source}/.", target], check=True)
                run = tool.run(self, source, target)
                if round_ == 0:
                    compare(source, target)
                else:
                    runs[tool.name].append(run)
                shutil.rmtree(target)
        shutil.rmtree(source)
        return what, where, runs


def compare(ours, theirs):
    for folder, _, names in os.walk(ours):
        other = theirs / Path(folder).relative_to(ours)
        _, differ, missing = filecmp.cmpfiles(folder, other, names, shallow=False)
        if differ or missing:
            raise RuntimeError(f"{other}: {differ or missing} are not what was sent")


def table(results, rounds, scale):
    lines = [] if scale == 1 else [f"Sizes and numbers of files are {scale} of those that the headings name.", ""]
    for what, where, runs in results:
        lines += [f"**{what}, {where}** (medians of {rounds} rounds, and quartiles)", "",
                  "| | seconds | haul is faster by | CPU seconds, both ends | largest process, MiB |", "| --- | --- | --- | --- | --- |"]
        first = None
        for name, taken in runs.items():
            low, seconds, high = quartiles(run.seconds for run in taken)
            first = first or seconds
            cpu = statistics.median(run.cpu for run in taken)
            memory = max(run.memory for run in taken)
            lines.append(f"| {name} | {seconds:.3f} [{low:.3f} {high:.3f}] | {seconds / first:.2f} | {cpu:.2f} | {memory:.0f} |")
        lines.append("")
    return "\n".join(lines)


def quartiles(values):
    values = sorted(values)
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def plot(results):
    """Bars of the time that each tool takes, as SVG; a job is a group, haul is its first bar."""
    rows, y = [], 0
    for what, where, runs in results:
        y += 26
        rows.append(f'<text class="job" x="0" y="{y}">{what} ({where})</text>')
        medians = {name: statistics.median(run.seconds for run in taken) for name, taken in runs.items()}
        longest = max(medians.values())
        for name, seconds in medians.items():
            y += 22
            width = 420 * seconds / longest
            kind = "ours" if name.startswith("haul") else "theirs"
            rows.append(f'<text class="name" x="176" y="{y}">{name}</text>')
            rows.append(f'<rect class="{kind}" x="186" y="{y - 12}" width="{width:.1f}" height="15"/>')
            rows.append(f'<text x="{192 + width:.1f}" y="{y}">{seconds:.3g} s</text>')
        y += 10
    style = (
        "text{font:13px sans-serif;fill:#57606a}.job{font-weight:bold}.name{text-anchor:end}"
        ".ours{fill:#0969da}.theirs{fill:#afb8c1}"
        "@media(prefers-color-scheme:dark){text{fill:#9198a1}.theirs{fill:#484f58}.ours{fill:#4493f8}}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {y + 8}" width="680" height="{y + 8}">'
    return "\n".join([head, f"<title>Seconds for each job; shorter is better</title><style>{style}</style>", *rows, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default 5)")
    parser.add_argument("--scale", type=float, default=1, help="of the sizes and numbers of files, to try it out")
    parser.add_argument("--job", action="append", choices=JOBS, help="these jobs alone")
    parser.add_argument("--growth", action="store_true", help="how the cost grows with size and number, of haul alone")
    parser.add_argument("--plot", type=Path, help="write bars as SVG to this file")
    parser.add_argument("--haul", default=REPOSITORY / "target/release/haul", help="the command (default: the release build)")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("one round at least")
    if arguments.haul == REPOSITORY / "target/release/haul":
        subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=REPOSITORY, check=True)
    target = REPOSITORY / "target"
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory, tempfile.TemporaryDirectory(dir=target) as disk:
        race = Race(arguments, Path(memory), Path(disk))
        if arguments.growth:
            return growth(race)
        results = [race.job(name) for name in arguments.job or JOBS]
    print(table(results, arguments.rounds, arguments.scale), end="")
    if arguments.plot:
        arguments.plot.write_text(plot(results))


if __name__ == "__main__":
    main()

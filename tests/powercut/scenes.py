"""What is sent, what stands at the receiver before, and what must be found after a power cut.

A tree is a dictionary from names, relative to the inbox, to bytes, to FOLDER, or to a link's target as a string.
"""

import hashlib
import os
import re
import stat

FOLDER = object()
PARTIAL = re.compile(r"\.haul-[0-9a-f]{16}(-[0-9a-f]{16})?(-[0-9]+)?\.part")

# Long past, and not whole seconds.
MODIFIED = 1_600_000_000_123_456_789


class Scene:
    def __init__(self, name, sent, held=None, standing=(), level="synced", rate="1G"):
        self.name = name
        self.sent = sent
        # Durable before.
        self.held = held or {}
        # Of what is sent, what somebody has put there already, and has not synced.
        self.standing = set(standing)
        self.level = level
        # Slow where there would be too little to cut otherwise.
        self.rate = rate

    def receive_options(self):
        # What a receiver may have that differs: a file of before, or one that a power cut has damaged.
        may_differ = self.held or self.standing or self.level == "received"
        existing = "replace" if may_differ else "refuse"
        return ["--allow-links", "--existing", existing, "--durability", self.level]

    def after(self):
        """The tree that a completed transfer leaves."""
        return {**self.held, **self.sent}

    def dressed(self):
        """The names of the files that get time and mode from haul."""
        return {
            name
            for name, content in self.sent.items()
            if isinstance(content, bytes)
            and name not in self.standing
            and self.held.get(name) != content
        }


def content(name, size):
    return hashlib.shake_256(name.encode()).digest(size)


def _files(sizes, salt=""):
    return {name: content(salt + name, size) for name, size in sizes.items()}


def _with_folders(tree):
    for name in list(tree):
        while name := os.path.dirname(name):
            tree[name] = FOLDER
    return tree


def _small(count):
    """Small files here and there in a few folders, of sizes about those of blocks, some empty."""
    sizes = [1, 4095, 4096, 4097, 0, 9000, 300, 20_000]
    folders = ["out", "out/a", "out/a/b", "out/a/b/c", "out/d"]
    return {f"{folders[n % 5]}/f{n}": sizes[n % 8] + (n if n % 8 > 4 else 0) for n in range(count)}


def scenes():
    tree = _files(_small(90))
    tree |= {"out/nothing": FOLDER, "out/a/link": "b/f2", "out/larger": content("larger", 700_000)}
    large = _files({"out/large": 3_500_001, "out/next": 600_000})
    replaced = _files(_small(24) | {"out/large": 1_500_000})
    older = _files(_small(24), "old ")
    # The first half is equal, and is copied from the old file.
    older["out/large"] = replaced["out/large"][:786_432] + content("old half", 900_000)
    # As large as before, shorter, longer, or as it is to be.
    older |= {"out/f5": content("old", 5), "out/d/f4": content("old", 5000)}
    older |= {"out/a/f6": replaced["out/a/f6"], "out/bystander": content("bystander", 5000)}
    flushed = _files(_small(30) | {"out/large": 800_000})
    half = {name: data for name, data in older.items() if name in flushed and name < "out/c"}
    standing = _files(_small(40) | {"out/large": 800_000})
    return [
        Scene("tree", _with_folders(tree)),
        Scene("large", _with_folders(large), rate="6M"),
        Scene("replace", _with_folders(replaced), _with_folders(older)),
        Scene("flushed", _with_folders(flushed), _with_folders(half), level="flushed"),
        Scene("standing", _with_folders(standing), standing=sorted(standing)[::2]),
        Scene("received", _with_folders(flushed | tree), _with_folders(half), level="received", rate="6M"),
    ]


def make(root, tree, names=None):
    """Writes a tree, or these names of it with the folders on the way. Nothing is synced."""
    for name in sorted(tree) if names is None else names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        node = tree[name]
        if node is FOLDER:
            path.mkdir(exist_ok=True)
        elif isinstance(node, str):
            path.symlink_to(node)
        else:
            path.write_bytes(node)
            path.chmod(0o640)
            os.utime(path, ns=(MODIFIED, MODIFIED))


def read(root):
    """The tree that is there, and the status of each of its files."""
    tree, status = {}, {}
    for folder, folders, files in os.walk(root):
        for entry in folders + files:
            path = os.path.join(folder, entry)
            name = os.path.relpath(path, root)
            status[name] = os.lstat(path)
            if stat.S_ISLNK(status[name].st_mode):
                tree[name] = os.readlink(path)
            elif stat.S_ISDIR(status[name].st_mode):
                tree[name] = FOLDER
            else:
                with open(path, "rb") as file:
                    tree[name] = file.read()
    return tree, status


def is_partial(name):
    return PARTIAL.fullmatch(os.path.basename(name)) is not None


def receipts(events):
    """The receipts that were given, by name, as either side says so."""
    return {event["path"]: event for event in events if event["event"] in ("delivered", "received")}


def violations(scene, events, tree, status):
    """What rules V and D forbid of what is there, when these events were said before."""
    found = []
    given = receipts(events)
    for name, node in tree.items():
        allowed = [source[name] for source in (scene.sent, scene.held) if name in source]
        # Files of others that were not synced, and what was only received, may hold anything.
        if scene.level == "received" or name in scene.standing - given.keys():
            allowed += [node] if allowed and isinstance(node, bytes) else []
        if not is_partial(name) and node not in allowed:
            found.append(f"V: {name} holds {describe(node)}, neither what was sent nor what was there")
    for name in scene.held:
        if name not in tree:
            found.append(f"V: {name} was there and is gone")

    if scene.level == "received":
        return found
    if scene.level == "synced" and any(event["event"] == "finished" for event in events):
        # Folders and links have no event of their own: they are there when all is done.
        others = [name for name, node in scene.sent.items() if not isinstance(node, bytes)]
        found += [f"D: {name} is missing" for name in others if tree.get(name) != scene.sent[name]]

    parts = {}
    for name, node in tree.items():
        if is_partial(name):
            parts.setdefault(os.path.dirname(name), []).append(node)
    dressed = scene.dressed()
    for name, event in given.items():
        if event["durability"] != scene.level:
            found.append(f"D: {name} was to be {scene.level} and is {event['durability']}")
        is_there = tree.get(name) == scene.sent[name]
        if scene.level == "flushed":
            # Content alone is promised, and it may not have its name yet.
            is_there |= scene.sent[name] in parts.get(os.path.dirname(name), [])
        if not is_there:
            found.append(f"D: {name} has a receipt and holds {describe(tree.get(name))}")
        elif name in dressed and scene.level == "synced":
            seen = (status[name].st_mtime_ns, status[name].st_mode & 0o777)
            if seen != (MODIFIED, 0o640):
                found.append(f"D: {name} has a receipt and has time and mode {seen}")
    return found


def describe(node):
    if node is None:
        return "nothing"
    if node is FOLDER or isinstance(node, str):
        return "a folder" if node is FOLDER else f"a link to {node}"
    zeros = node.count(0)
    return f"{len(node)} bytes, {zeros} of them zeros"

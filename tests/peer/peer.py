"""A second implementation of haul's wire, written from src/proto/wire.md alone: a sender and a receiver in memory.

It is as small as the document lets it be. Rules are cited by their ids. Nothing but the standard library is used;
BLAKE3 is here in full, as slow as it is in Python.
"""

import struct

# BLAKE3, from its specification.

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
LANES = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED, CONTEXT, MATERIAL = 1, 2, 4, 8, 16, 32, 64
M = 0xFFFFFFFF


def compress(cv, words, counter, length, flags):
    v = [*cv, *IV[:4], counter & M, counter >> 32, length, flags]
    m = list(words)
    for round_number in range(7):
        for lane, (a, b, c, d) in enumerate(LANES):
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = (va + vb + m[2 * lane]) & M
            vd ^= va
            vd = (vd >> 16 | vd << 16) & M
            vc = (vc + vd) & M
            vb ^= vc
            vb = (vb >> 12 | vb << 20) & M
            va = (va + vb + m[2 * lane + 1]) & M
            vd ^= va
            vd = (vd >> 8 | vd << 24) & M
            vc = (vc + vd) & M
            vb ^= vc
            v[a], v[b], v[c], v[d] = va, (vb >> 7 | vb << 25) & M, vc, vd
        m = [m[at] for at in ORDER]
    return tuple(v[i] ^ v[i + 8] for i in range(8))


def node(key, data, counter, flags):
    """The top node of a subtree, not finalized: what `compress` takes."""
    if len(data) <= 1024:
        cv, start = key, CHUNK_START
        pieces = [data[at:at + 64] for at in range(0, len(data), 64)] or [b""]
        for piece in pieces[:-1]:
            cv, start = compress(cv, struct.unpack("<16I", piece), counter, 64, flags | start), 0
        last = struct.unpack("<16I", pieces[-1].ljust(64, b"\0"))
        return cv, last, counter, len(pieces[-1]), flags | start | CHUNK_END
    left = 1024
    while left * 2 < len(data):
        left *= 2
    first = compress(*node(key, data[:left], counter, flags))
    second = compress(*node(key, data[left:], counter + left // 1024, flags))
    return key, first + second, 0, 64, flags | PARENT


def blake3(data, key=IV, flags=0):
    cv, words, _, length, flags = node(key, data, 0, flags)
    # The first 32 bytes alone, which is all that haul needs; the counter of the output is 0.
    cv, words, length = tuple(cv), tuple(words), length
    return struct.pack("<8I", *compress(cv, words, 0, length, flags | ROOT))


def derive_key(context, data):
    key = struct.unpack("<8I", blake3(context.encode(), IV, CONTEXT))
    return struct.unpack("<8I", blake3(data, key, MATERIAL))


def block_hash(data, index, size):
    """B-2."""
    return struct.pack("<8I", *compress(*node(IV, data, index * size // 1024, 0)))


# Messages.

(HELLO, OFFER, HAVE, REFUSE, BLOCK, SAME, ZEROS, CLAIM, END, MISSING, KEPT, RECEIPT) = range(1, 13)
(WITHDRAW, OVER, OUT, ABORT, HEARTBEAT, UNCHANGED, CHANGED) = range(14, 21)
PREFACE = b"\x89haul\r\n\x1a"
GREETING = struct.Struct("<HHBBHI16s16sIIQIII")
ROOTS, TIMES = 1, 2


class Aborted(Exception):
    """The peer said `Abort`; its code is the argument."""


class Link:
    """Frames of one connection: rules W-1 to W-8."""

    def __init__(self, stream, is_sender, attempt=0, transfer=b"t" * 16, features=0, block=0):
        self.stream, self.is_sender, self.heard, self.pending = stream, is_sender, b"", b""
        key = derive_key("haul wire 1: greetings", b"")
        self.keys, self.numbers = {"say": key, "hear": key}, {"say": 0, "hear": 0}
        self.attempt, self.transfer = attempt, transfer if is_sender else bytes(16)
        self.features, self.block, self.log = features, block, []

    def greet(self):
        """T-2. Gives the peer's `Hello`, as a tuple."""
        if self.is_sender:
            hello = self.say_hello()
            self.over(True)
        assert self.take(8) == PREFACE
        kind, control, _ = self.hear()
        assert kind == HELLO, kind
        said, heard = self.attempt, GREETING.unpack(control[:GREETING.size])[5]
        if not self.is_sender:
            while self.hear()[0] != OVER:
                pass
            # M-1d. Whoever remembers nothing counts from 1.
            self.attempt = heard or 1
            hello = self.say_hello()
        else:
            assert heard > 0 and said in (0, heard), (said, heard)
            self.attempt = heard
        hellos = (hello, control) if self.is_sender else (control, hello)
        both = b"".join(struct.pack("<Q", len(hello)) + hello for hello in hellos)
        roles = ("sender", "receiver") if self.is_sender else ("receiver", "sender")
        for way, role in zip(("say", "hear"), roles):
            self.keys[way] = derive_key(f"haul wire 1: frames of the {role}", both)
        return GREETING.unpack(control[:GREETING.size])

    def say_hello(self):
        hello = GREETING.pack(1, 1, 0 if self.is_sender else 1, self.block, 0, self.attempt, self.transfer,
                              bytes(range(16)), self.features, 0, 1 << 30, 64, 8192, 1 << 20)
        self.pending += PREFACE
        self.say(HELLO, hello)
        return hello

    def check(self, way, data):
        return blake3(struct.pack("<Q", self.numbers[way]) + data, self.keys[way], KEYED)[:8]

    def say(self, kind, control=b"", payload=b""):
        head = struct.pack("<I", kind | len(control) << 8) + struct.pack("<I", len(payload))
        frame = head + self.check("say", head)
        if control:
            frame += control + self.check("say", head + control)
        self.numbers["say"] += 1
        self.pending += frame + payload

    def hear(self):
        head = self.take(16)
        assert head[8:] == self.check("hear", head[:8]), "damaged header"
        first, payload = struct.unpack("<II", head[:8])
        kind, length = first & 255, first >> 8
        control = self.take(length)
        if length:
            assert self.take(8) == self.check("hear", head[:8] + control), "damaged control part"
        self.numbers["hear"] += 1
        self.log.append(kind)
        if kind == ABORT:
            raise Aborted(struct.unpack("<H", control)[0])
        return kind, control, self.take(payload)

    def over(self, waiting):
        self.say(OVER, bytes([waiting]))
        self.flush()

    def flush(self):
        self.stream.sendall(self.pending)
        self.pending = b""

    def take(self, count):
        while len(self.heard) < count:
            more = self.stream.recv(65536)
            if not more:
                raise EOFError
            self.heard += more
        taken, self.heard = self.heard[:count], self.heard[count:]
        return taken


def ranges_of(blocks):
    """Ascending ranges that do not touch."""
    runs = []
    for block in sorted(blocks):
        if runs and runs[-1][1] == block:
            runs[-1][1] = block + 1
        else:
            runs.append([block, block + 1])
    return runs


def pack_ranges(entry, blocks):
    return struct.pack("<I", entry) + b"".join(struct.pack("<QQ", *run) for run in ranges_of(blocks))


def unpack_ranges(control):
    numbers = struct.unpack(f"<{(len(control) - 4) // 8}Q", control[4:])
    return [block for at in range(0, len(numbers), 2) for block in range(numbers[at], numbers[at + 1])]


# The sender.


class Sending:
    """What is to be sent under a name, and what became of it."""

    def __init__(self, name, data=b"", kind=0, sized=True, time=None, mode=None, inline=False, by_root=False,
                 by_time=False, target=b"", withdraw=False, damage=(), claims=True, lie=None):
        self.name, self.data, self.kind, self.sized = name.encode(), data, kind, sized
        self.time, self.mode, self.target = time, mode, target
        self.inline, self.by_root, self.by_time = inline, by_root, by_time
        # Misfortunes: it is taken back instead of its first block; blocks come damaged the first time; its root is not
        # known when it is claimed; another root is said in its `End`.
        self.withdraw, self.damage, self.claims, self.lie = withdraw, set(damage), claims, lie
        self.outcome = None

    def block(self, index, size):
        return self.data[index * size:(index + 1) * size]

    def begin(self):
        self.phase, self.cursor, self.first, self.hashes, self.more = "queued", 0, 0, [], False
        self.resend, self.kept, self.ended = [], set(), False


class Sender:
    """One transfer, over as many connections as it takes."""

    def __init__(self, entries, exponent=0):
        self.entries, self.exponent, self.size = entries, exponent, 1024 << exponent
        self.attempt, self.runs, self.said, self.log = 0, 0, [], []

    def run(self, stream, cut_after=None, attempt=None):
        """`cut_after`: the connection is lost after so many blocks."""
        if attempt is None:
            attempt = self.attempt and self.attempt + 1
        self.runs += 1
        self.link, self.cut_after = Link(stream, True, attempt), cut_after
        self.log, self.said = self.link.log, []
        hello = self.link.greet()
        self.attempt = self.link.attempt
        self.features = hello[8]
        self.listen()
        for entry in self.entries:
            entry.begin()
        while any(entry.outcome is None for entry in self.entries):
            for number, entry in enumerate(self.entries):
                if entry.outcome is None and entry.phase == "queued":
                    self.offer(number, entry)
            for number, entry in enumerate(self.entries):
                if entry.outcome is None and self.speak(number, entry):
                    return False
            self.link.over(True)
            self.listen()
        self.link.say(OUT)
        self.link.flush()
        return True

    def offer(self, number, entry, again=False):
        by_time = entry.by_time and not again and self.features & TIMES and self.runs == 1
        is_file = entry.kind == 0
        known = entry.sized or not is_file
        inline = entry.inline and is_file and not by_time
        rooted = inline or (entry.by_root and not by_time)
        flags = known | (entry.time is not None) << 1 | (entry.mode is not None) << 2
        flags |= rooted << 3 | inline << 4 | bool(by_time) << 5
        control = struct.pack("<IBBB", number, entry.kind, flags, self.exponent)
        if known:
            control += struct.pack("<Q", len(entry.data))
        if entry.time is not None:
            control += struct.pack("<qI", *entry.time)
        if entry.mode is not None:
            control += struct.pack("<I", entry.mode)
        if rooted:
            control += blake3(entry.data)
        control += struct.pack("<H", len(entry.name)) + entry.name + entry.target
        payload = entry.data if inline else b""
        if inline and 0 in entry.damage:
            entry.damage.discard(0)
            payload = bytes(byte ^ 1 for byte in payload)
        self.link.say(OFFER, control, payload)
        entry.phase = "asked" if by_time else "offered"

    def speak(self, number, entry):
        """Says what can be said of an entry now; true if the connection is lost on purpose."""
        size = self.size
        if entry.phase == "compared":
            root = blake3(entry.data) if entry.claims else b""
            self.link.say(CLAIM, struct.pack("<I", number) + root)
            entry.phase = "claimed"
        if entry.phase == "changed":
            self.offer(number, entry, again=True)
        if entry.phase != "streaming":
            return False
        if entry.withdraw:
            self.link.say(WITHDRAW, struct.pack("<IHQQ", number, 1, 0, 0))
            entry.outcome = ("withdrawn",)
            return False
        for index in entry.resend:
            self.send_block(number, entry, index)
        entry.resend = []
        blocks = -(-len(entry.data) // size)
        while entry.cursor < blocks:
            index, data = entry.cursor, entry.block(entry.cursor, size)
            at = index - entry.first
            if entry.more and at >= len(entry.hashes):
                return False
            entry.cursor += 1
            if index in entry.kept:
                continue
            if at < len(entry.hashes) and entry.hashes[at] == block_hash(data, index, size):
                self.link.say(SAME, struct.pack("<IQQ", number, index, index + 1))
                self.said.append(("same", index))
            elif not any(data) and (entry.sized or len(data) == size):
                self.link.say(ZEROS, struct.pack("<IQQ", number, index, index + 1))
                self.said.append(("zeros", index))
            else:
                self.send_block(number, entry, index)
                if self.cut_after is not None:
                    self.cut_after -= 1
                    if self.cut_after == 0:
                        # What was said so far shall be heard.
                        self.link.over(False)
                        self.listen()
                        return True
        if not entry.ended:
            entry.ended = True
            root = entry.lie or blake3(entry.data)
            self.link.say(END, struct.pack("<IQ", number, len(entry.data)) + root)
        return False

    def send_block(self, number, entry, index):
        data = entry.block(index, self.size)
        control = struct.pack("<IQ", number, index) + block_hash(data, index, self.size)
        if index in entry.damage:
            entry.damage.discard(index)
            data = bytes(byte ^ 1 for byte in data)
        self.link.say(BLOCK, control, data)
        self.said.append(("block", index))

    def listen(self):
        while True:
            kind, control, _ = self.link.hear()
            if kind == OVER:
                return
            if kind == HEARTBEAT:
                continue
            number = struct.unpack("<I", control[:4])[0]
            entry = self.entries[number]
            assert entry.outcome is None, "settled"
            if kind == HAVE and control[4] & 2:
                assert entry.phase == "offered" and entry.sized
                entry.phase = "compared"
            elif kind == HAVE:
                first = struct.unpack("<Q", control[5:13])[0]
                hashes = [control[at:at + 32] for at in range(13, len(control), 32)]
                if entry.phase == "streaming":
                    assert entry.more and first == entry.first + len(entry.hashes) <= entry.cursor
                entry.phase, entry.first, entry.hashes, entry.more = "streaming", first, hashes, control[4] & 1
            elif kind == KEPT:
                if entry.phase == "offered":
                    entry.kept = set(unpack_ranges(control))
            elif kind == MISSING:
                entry.resend = unpack_ranges(control)
                assert all(index < entry.cursor and index not in entry.kept for index in entry.resend)
            elif kind == CHANGED:
                entry.phase = "changed"
            elif kind == UNCHANGED:
                assert entry.phase == "asked"
                entry.outcome = ("unchanged",)
            elif kind == REFUSE:
                entry.outcome = ("refused", struct.unpack("<H", control[4:6])[0])
            elif kind == RECEIPT:
                size, root, durability, held = struct.unpack("<Q32sBB", control[4:46])
                data = entry.data if entry.kind == 0 else b""
                assert size == len(data) and root == blake3(data), "a false receipt"
                assert held or entry.phase != "claimed", "stored what was not sent"
                name = control[46:] or entry.name
                entry.outcome = ("held" if held else "stored", name.decode(), durability)
            else:
                raise AssertionError(f"message {kind} of a receiver")


# The receiver.


class Receiver:
    """A folder in memory, over as many connections as the sender needs."""

    def __init__(self, files=None, existing="refuse", features=0, times=None, partial=None, piece=4096, exponent=13,
                 damaged=(), heartbeats=0, turn_away=None):
        self.files, self.existing, self.features = dict(files or {}), existing, features
        self.times, self.partial, self.piece, self.exponent = times or {}, partial or {}, piece, exponent
        # Blocks that count as damaged when they come first; how many heartbeats each turn begins with; a reason to
        # refuse all.
        self.damaged, self.heartbeats, self.turn_away = set(damaged), heartbeats, turn_away
        self.known, self.folders, self.links, self.log, self.said = {}, {}, {}, [], []

    def run(self, stream, cut_after=None):
        """`cut_after`: the connection is lost after so many blocks."""
        self.link, self.entries = Link(stream, False, features=self.features, block=self.exponent), {}
        self.log, self.answers, blocks = self.link.log, [], 0
        self.link.greet()
        self.link.over(True)
        while True:
            kind, control, payload = self.link.hear()
            if kind == OUT:
                assert not self.entries, "entries are pending"
                return True
            if kind == OVER:
                for _ in range(self.heartbeats):
                    self.link.say(HEARTBEAT, b"\x01")
                self.answer()
                self.link.over(True)
            elif kind == OFFER:
                self.offer(control, payload)
            elif kind != HEARTBEAT:
                number = struct.unpack("<I", control[:4])[0]
                if number in self.entries:
                    self.about(number, self.entries[number], kind, control, payload)
                if kind == BLOCK:
                    blocks += 1
                    if blocks == cut_after:
                        return False

    def settle(self, number, kind, control):
        self.answers.append((kind, struct.pack("<I", number) + control))
        self.entries.pop(number, None)
        self.known.pop(number, None)
        self.said.append(kind)

    def refuse(self, number, code):
        self.settle(number, REFUSE, struct.pack("<HQQ", code, 0, 0))

    def receipt(self, number, data, held, name=b""):
        control = struct.pack("<Q32sBB", len(data), blake3(data), 0, held)
        self.settle(number, RECEIPT, control + name)

    def offer(self, control, payload):
        number, kind, flags, exponent = struct.unpack("<IBBB", control[:7])
        at, size, time, root = 7, None, None, None
        if flags & 1:
            size, at = struct.unpack("<Q", control[at:at + 8])[0], at + 8
        if flags & 2:
            time, at = struct.unpack("<qI", control[at:at + 12]), at + 12
        if flags & 4:
            at += 4
        if flags & 8:
            root, at = control[at:at + 32], at + 32
        length = struct.unpack("<H", control[at:at + 2])[0]
        name, target = control[at + 2:at + 2 + length], control[at + 2 + length:]
        identity = (kind, exponent, size, time, name)
        entry = {"name": name, "size": size, "time": time, "root": root, "block": 1024 << exponent,
                 "identity": identity, "blocks": {}, "held": [], "said": 0, "high": 0, "end": None, "phase": None,
                 "missing": set(), "place": name}
        old = self.known.get(number)
        self.entries[number] = self.known[number] = entry
        text = name.decode()
        if self.turn_away:
            return self.refuse(number, self.turn_away)
        if kind == 1:
            self.folders[text] = time
            return self.receipt(number, b"", 0)
        if kind == 2:
            self.links[text] = target
            return self.receipt(number, b"", 0)
        if flags & 32:
            if text in self.files and len(self.files[text]) == size and self.times.get(text) == time:
                return self.settle(number, UNCHANGED, b"")
            self.answers.append((CHANGED, struct.pack("<I", number)))
            self.entries.pop(number)
            return None
        if old and old["identity"] == identity and old["blocks"] and not root:
            # E-4: what was kept is said, and not dealt with again.
            entry["blocks"] = old["blocks"]
            self.answers.append((KEPT, pack_ranges(number, entry["blocks"])))
            return self.have(number, entry)
        mine = self.files.get(text)
        if mine is not None and self.existing != "replace" and size is not None and root is None:
            if len(mine) == size:
                # M-3: is it the same?
                entry["phase"] = "comparing"
                self.answers.append((HAVE, struct.pack("<IBQ", number, 2, 0)))
                return None
        if mine is not None and root is not None and blake3(mine) == root:
            return self.receipt(number, mine, 1)
        if mine is not None and (size is not None or self.existing == "replace"):
            if self.existing == "replace" and root is None:
                entry["held"] = mine
            elif not self.differs(number, entry):
                return None
        if flags & 16 and blake3(payload) == root and 0 not in self.damaged:
            return self.store(number, entry, payload)
        self.damaged.discard(0)
        if text in self.partial:
            entry["held"] = self.partial.pop(text)
        return self.have(number, entry)

    def differs(self, number, entry):
        """A different file has the name; false if that settles the entry."""
        if self.existing in ("refuse", "skip"):
            self.refuse(number, 1 if self.existing == "refuse" else 2)
            return False
        if self.existing == "rename":
            stem, dot, suffix = entry["name"].decode().rpartition(".")
            entry["place"] = (f"{stem} (1).{suffix}" if dot else f"{suffix} (1)").encode()
        return True

    def have(self, number, entry):
        """Says the next piece of what is held."""
        entry["phase"] = "filling"
        size, held = entry["block"], entry["held"]
        whole = len(held) if entry["size"] is None or len(held) >= entry["size"] else len(held) // size * size
        held = held[:whole if entry["size"] is None else min(whole, entry["size"])]
        first, hashes = entry["said"], []
        while len(hashes) < self.piece and (first + len(hashes)) * size < len(held):
            index = first + len(hashes)
            hashes.append(block_hash(held[index * size:(index + 1) * size], index, size))
        entry["said"] = first + len(hashes)
        entry["more"] = bool(hashes) and entry["said"] * size < len(held)
        control = struct.pack("<IBQ", number, entry["more"], first) + b"".join(hashes)
        self.answers.append((HAVE, control))

    def about(self, number, entry, kind, control, payload):
        size = entry["block"]
        if kind == CLAIM:
            assert entry["phase"] == "comparing"
            mine = self.files[entry["name"].decode()]
            if control[4:] == blake3(mine):
                self.receipt(number, mine, 1)
            elif self.differs(number, entry):
                self.have(number, entry)
        elif kind == BLOCK:
            index = struct.unpack("<Q", control[4:12])[0]
            assert index not in entry["blocks"], "a block comes again"
            entry["high"] = max(entry["high"], index + 1)
            if index in self.damaged or block_hash(payload, index, size) != control[12:]:
                self.damaged.discard(index)
                entry["missing"].add(index)
            else:
                entry["blocks"][index] = payload
                entry["missing"].discard(index)
        elif kind in (SAME, ZEROS):
            first, end = struct.unpack("<QQ", control[4:])
            for index in range(first, end):
                assert index not in entry["blocks"], "a block comes again"
                data = bytes(size) if kind == ZEROS else entry["held"][index * size:(index + 1) * size]
                length = size if entry["size"] is None else min(size, entry["size"] - index * size)
                entry["blocks"][index] = data[:length]
            entry["high"] = max(entry["high"], end)
        elif kind == END:
            assert entry["end"] is None, "End is said twice"
            entry["end"] = struct.unpack("<Q32s", control[4:])
        elif kind == WITHDRAW:
            self.entries.pop(number)
            self.said.append(WITHDRAW)

    def store(self, number, entry, data):
        self.files[entry["place"].decode()] = data
        self.times[entry["place"].decode()] = entry["time"]
        self.receipt(number, data, 0, b"" if entry["place"] == entry["name"] else entry["place"])

    def answer(self):
        """What a turn holds: answers, what is missing and kept, receipts."""
        for number, entry in list(self.entries.items()):
            if entry["phase"] != "filling":
                continue
            blocks = entry["blocks"]
            if entry["missing"]:
                self.answers.append((MISSING, pack_ranges(number, entry["missing"])))
            elif entry["end"]:
                length, root = entry["end"]
                data = b"".join(blocks[index] for index in sorted(blocks))
                assert len(data) == length
                if blake3(data) != root:
                    self.refuse(number, 15)
                    continue
                if entry["size"] is None and entry["name"].decode() in self.files and self.existing != "replace":
                    mine = self.files[entry["name"].decode()]
                    if mine == data:
                        self.receipt(number, data, 1)
                        continue
                    if not self.differs(number, entry):
                        continue
                self.store(number, entry, data)
            elif entry.get("more") and entry["high"] >= entry["said"]:
                self.have(number, entry)
            elif blocks:
                self.answers.append((KEPT, pack_ranges(number, blocks)))
        for kind, control in self.answers:
            self.link.say(kind, control)
        self.answers = []

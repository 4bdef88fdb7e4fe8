"""What may be on the device after a power cut, made of the log of a disk.

A flush parts the log into epochs. What was written before a flush is on the device; of what was written since, any
set of 4 KiB pieces may be, as the device writes its cache in whatever order it likes. So a state is an epoch and a
set of its pieces. The power goes at the end of the epoch, just before its flush is done: whatever else may be found
with the power going earlier in it is among these states, and was promised less.
"""

import json

from disk import FLUSH, RECEIVER, SENDER, records
from system import BLOCK


class Epoch:
    def __init__(self):
        self.pieces = []
        self.events = []


class Log:
    def __init__(self, path):
        self.epochs = [Epoch()]
        self.begin = 0
        unfinished = {SENDER: b"", RECEIVER: b""}
        for kind, offset, data in records(path):
            if kind == FLUSH:
                # Without a write since, nothing is new on the device.
                if self.epochs[-1].pieces:
                    self.epochs.append(Epoch())
            elif kind in unfinished:
                *lines, unfinished[kind] = (unfinished[kind] + data).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["event"] == "begin":
                        self.begin = len(self.epochs) - 1
                    self.epochs[-1].events.append(event)
            else:
                pieces = self.epochs[-1].pieces
                while data:
                    size = BLOCK - offset % BLOCK
                    pieces.append((offset, data[:size]))
                    offset, data = offset + size, data[size:]

    def events(self, epoch):
        """All that was said until the end of an epoch."""
        return [event for epoch in self.epochs[: epoch + 1] for event in epoch.events]

    def choose(self, count, rng):
        """So many different states, sorted. In about half of them nothing that was written since the flush is there.

        That everything is there is the first state of the next epoch.
        """
        numbers = range(self.begin, len(self.epochs))
        bare = rng.sample(numbers, min(len(numbers), max(count // 2, 1)))
        chosen = {(number, ()) for number in bare}
        shuffled = rng.sample(numbers, len(numbers))
        more = {number: _subsets(len(self.epochs[number].pieces), rng) for number in shuffled}
        while more and len(chosen) < count:
            for number, subsets in list(more.items()):
                subset = next(subsets, None)
                if subset is None:
                    del more[number]
                elif len(chosen) < count:
                    chosen.add((number, subset))
        return sorted(chosen)

    def images(self, base, chosen, lag=0):
        """The content of the device in each of these states: a bytearray, for as long as the next is not asked for.

        `lag`: so many flushes did nothing, as on a device that lies.
        """
        durable, done = bytearray(base), 0
        for number, subset in chosen:
            while done < number - lag:
                _apply(durable, self.epochs[done].pieces)
                done += 1
            pieces = self.epochs[number].pieces
            saved = [(offset, durable[offset : offset + len(data)]) for offset, data in pieces]
            _apply(durable, [pieces[index] for index in subset])
            yield (number, subset), durable
            _apply(durable, saved)


def _apply(content, pieces):
    for offset, data in pieces:
        content[offset : offset + len(data)] = data


def _subsets(count, rng):
    """Sets of some of so many pieces, as sorted indices, each once, neither none nor all."""
    pieces = range(count)
    if count <= 8:
        every = [tuple(i for i in pieces if bits >> i & 1) for bits in range(1, 2**count - 1)]
        yield from rng.sample(every, len(every))
        return
    seen, repeats = set(), 0
    while repeats < 1000:
        kind = rng.randrange(5)
        one = rng.randrange(count)
        if kind == 0:
            subset = tuple(pieces[: max(one, 1)])
        elif kind == 1:
            subset = tuple(i for i in pieces if i != one)
        elif kind == 2:
            subset = (one,)
        else:
            share = 0.5 if kind == 3 else rng.random()
            subset = tuple(i for i in pieces if rng.random() < share)
        repeats = repeats + 1 if subset in seen else 0
        if repeats == 0:
            seen.add(subset)
            if 0 < len(subset) < count:
                yield subset

"""Who of several processes is still there: each gives a sign of life every second, and all listen.

A collective operation waits for everybody, for ever if need be. What one process says here, through a store
that all can reach, tells the others that it left, that it failed and why, or, by silence, that it died, hangs
or lost its network.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

import torch.distributed as dist

PATIENCE = 20.0  # seconds of silence; torchrun kills everybody 30 s after it saw one process die
SUSPICION = 5.0  # the same once an operation has failed, for which there must be a reason
GRACE = 3.0  # to leave by itself after another's failure


class Heartbeat:
    """This process's signs of life, and what it has heard from the others."""

    def __init__(self, store: dist.Store, rank: int, world: int):
        self.store, self.rank, self.world = store, rank, world
        self.words = [f"word of {r}" for r in range(world)]
        self.heard = [("", time.monotonic())] * world  # what each said last, and since when
        self.leaving = threading.Event()
        store.set(f"name of {rank}", f"rank {rank} (process {os.getpid()} on {socket.gethostname()})")
        self.say("alive 0")
        self.thread = threading.Thread(target=self.beat, daemon=True)
        self.thread.start()

    def say(self, word: str) -> None:
        self.store.set(self.words[self.rank], word)

    def listen(self) -> None:
        for r, word in enumerate(self.store.multi_get(self.words)):
            if word.decode() != self.heard[r][0]:
                self.heard[r] = word.decode(), time.monotonic()

    def beat(self) -> None:
        """The thread: it ends the process where the main one cannot, which may be waiting for the lost."""
        beats, failure = 0, None
        while not self.leaving.wait(1.0):
            beats += 1
            try:
                self.say(f"alive {beats}")
                self.listen()
            except RuntimeError:
                self.end("what had started these processes is gone")
            if message := self.trouble(PATIENCE):
                failure = failure or time.monotonic()
                if self.lost(PATIENCE) or time.monotonic() - failure > GRACE:
                    self.end(message)

    def lost(self, patience: float) -> list[int]:
        """The ranks of which nothing has been heard for so many seconds, though they have not left."""
        late = time.monotonic() - patience
        others = (r for r in range(self.world) if r != self.rank)
        return [r for r in others if self.heard[r][1] < late and self.heard[r][0].startswith("alive")]

    def trouble(self, patience: float) -> str | None:
        """One line about who failed or is lost, if anybody did or is."""
        for r, (word, _) in enumerate(self.heard):
            if r != self.rank and word.startswith("failed"):
                return f"{self.name(r)} failed: {word.removeprefix('failed ')}"
        if lost := self.lost(patience):
            names = ", ".join(map(self.name, lost))
            silent = f"{names} died or hangs: nothing heard for {patience:.0f} s"
            return f"{silent}; --resume goes on from the last checkpoint"
        return None

    def name(self, rank: int) -> str:
        return self.store.get(f"name of {rank}").decode()

    def speaks(self) -> bool:
        """Whether this process is the first that can still tell what happened."""
        gone = {*self.lost(SUSPICION), *(r for r, (word, _) in enumerate(self.heard) if word == "left")}
        return self.rank == min(r for r in range(self.world) if r not in gone)

    def explain(self) -> str | None:
        """Why an operation with the others may have failed: one line, or None if all are well."""
        until = time.monotonic() + SUSPICION + 2
        while not (message := self.trouble(SUSPICION)) and time.monotonic() < until:
            time.sleep(0.2)
        return message

    def leave(self, word: str) -> None:
        """Say "left" or "failed …", and wait for rank 0 to finish: torchrun kills all when one has failed.

        Rank 0 in turn waits a moment for the others: the store may be its own.
        """
        self.leaving.set()
        self.thread.join()
        until = time.monotonic() + (float("inf") if self.rank else GRACE)
        awaited = [0] if self.rank else range(1, self.world)
        try:
            self.say(word)
            self.listen()
            while any(self.heard[r][0].startswith("alive") for r in awaited) and time.monotonic() < until:
                if 0 in self.lost(PATIENCE):
                    return
                time.sleep(0.1)
                self.listen()
            self.say(word)
        except RuntimeError:
            pass  # the store has gone before us

    def end(self, message: str) -> None:
        """Leave at once, wherever the main thread is."""
        try:
            if self.speaks():
                print(f"error: {message}", file=sys.stderr, flush=True)
            self.say(f"failed {message}")
        finally:
            os._exit(2)

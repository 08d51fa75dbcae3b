"""Processes of `peer.py`, one a variant, and what is said to them. Standard library only."""

import json
import subprocess
import threading
import time

from program import Failed, Missing

START_LIMIT_S = 120
LAST_LINES = 6


class Peer:
    """One variant of PyTorch that stays and does what it is told.

    >>> import sys, tempfile
    >>> script = '''
    ... print('{"ready": true, "version": "1", "device": "x", "uuid": null}', flush=True)
    ... while True:
    ...     print('{"b": 2}' if '"a"' in input() else '{"error": "no"}', flush=True)
    ... '''
    >>> with tempfile.NamedTemporaryFile() as log:
    ...     peer = Peer("x", [sys.executable, "-c", script], log.name)
    ...     print(peer.greeting["version"], peer.ask({"do": "a"}, 10))
    ...     try:
    ...         peer.ask({"do": "c"}, 10)
    ...     except Failed as error:
    ...         print(error)
    ...     peer.close()
    1 {'b': 2}
    x could not `c`: no
    """

    def __init__(self, name, command, log):
        self.name, self.log, self.ended = name, log, False
        with open(log, "w") as stderr:
            try:
                self.process = subprocess.Popen(
                    [str(part) for part in command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                )
            except OSError as error:
                raise Missing(f"`{command[0]}` cannot be started: {error}") from error
        try:
            self.greeting = self._answer("start", START_LIMIT_S)
            if not self.greeting.get("ready"):
                raise Missing(self.greeting.get("missing", "it is not ready"))
        except Exception:
            self.close()
            raise

    def _answer(self, to, limit_s):
        timer = threading.Timer(max(1.0, limit_s), self.process.kill)
        start = time.monotonic()
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        if not line:
            self.ended = True
            code, after = self.process.wait(), time.monotonic() - start
            with open(self.log, errors="replace") as log:
                words = "\n".join(log.read().splitlines()[-LAST_LINES:])
            raise Failed(f"{self.name} ended with code {code} at `{to}` after {after:.0f} s (limit {limit_s:.0f} s):\n{words}")
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise Failed(f"{self.name} answered `{line.strip()[:200]}` to `{to}`") from error
        if "error" in answer:
            raise Failed(f"{self.name} could not `{to}`: {answer['error']}")
        return answer

    def ask(self, command, limit_s):
        try:
            print(json.dumps(command), file=self.process.stdin, flush=True)
        except (BrokenPipeError, ValueError):
            pass  # `_answer` says how the process ended.
        return self._answer(command["do"], limit_s)

    def close(self):
        """Ends the process: it stops by itself when its input ends, unless something is wrong with it."""
        self.ended = True
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Peers:
    """Started when they are first needed, and kept: importing PyTorch takes seconds. One that ended is started again."""

    def __init__(self, python, script, device, scratch, logs):
        self.python, self.script, self.device, self.scratch, self.logs = python, script, device, scratch, logs
        self.running, self.number = {}, 0

    def fresh(self, mode):
        """A process of its own, which the caller closes."""
        self.number += 1
        command = [self.python, self.script, "--mode", mode, "--device", self.device, "--scratch", self.scratch]
        return Peer(mode, command, self.logs / f"peer-{mode}-{self.number:03}.log")

    def get(self, mode, key=None):
        """The process of a variant; with a `key` another one of the same variant."""
        key = key or mode
        if key not in self.running or self.running[key].ended:
            self.running[key] = self.fresh(mode)
        return self.running[key]

    def end(self, key):
        """Ends a process, and so gives back the device's memory that it holds."""
        peer = self.running.pop(key, None)
        if peer and not peer.ended:
            peer.close()

    def close(self):
        for peer in self.running.values():
            if not peer.ended:
                peer.close()
        self.running.clear()

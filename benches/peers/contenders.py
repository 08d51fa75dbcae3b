"""Processes that take turns: those that stay and do a work at each `go`, and programs that are run whole. Standard library only."""

import json
import os
import subprocess
import threading
import time

# Compiling a training step takes PyTorch minutes on two cores.
READY_LIMIT_S = 900
ANSWER_LIMIT_S = 600
# The most lines of a failed process's standard error that are shown.
LAST_LINES = 6


class Missing(Exception):
    """What a contender needs is not installed."""


class Failed(Exception):
    """A contender stopped or said what nobody understands."""


def tail(path):
    """The last lines of a log."""
    with open(path, errors="replace") as log:
        return "\n".join(log.read().splitlines()[-LAST_LINES:])


class Contender:
    """A process that speaks the protocol of README.md.

    >>> import sys, tempfile
    >>> script = '''
    ... print('{"ready": true, "name": "x", "version": "1"}', flush=True)
    ... while True:
    ...     line = input()
    ...     print('{"seconds": 0.5, "cpu_seconds": 1.0, "peak_rss_mib": 9.0}' if line == "go" else "what?", flush=True)
    ... '''
    >>> with tempfile.NamedTemporaryFile() as log, Contender("x", [sys.executable, "-c", script], log.name) as contender:
    ...     print(contender.version, contender.measure()["seconds"])
    ...     try:
    ...         contender.write_output("file")
    ...     except Failed as error:
    ...         print(error)
    1 0.5
    x answered `what?` to `out file`
    >>> with tempfile.NamedTemporaryFile() as log:
    ...     Contender("y", [sys.executable, "-c", "print('{\\"ready\\": false, \\"missing\\": \\"z\\"}')"], log.name)
    Traceback (most recent call last):
    contenders.Missing: z is not installed
    """

    def __init__(self, name, command, log):
        self.name, self.command, self.log = name, command, log
        with open(log, "w") as stderr:
            try:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
                )
            except OSError as error:
                raise Missing(str(error)) from error
        try:
            greeting = self._answer("its start", READY_LIMIT_S)
            if not greeting.get("ready"):
                raise Missing(f"{greeting.get('missing')} is not installed")
        except Exception:
            self.close()
            raise
        self.version = greeting["version"]

    def _answer(self, to, limit_s):
        timer = threading.Timer(limit_s, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        if not line:
            code = self.process.wait()
            raise Failed(f"{self.name} ended with code {code} after {to}:\n{tail(self.log)}")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or "error" in answer:
            raise Failed(f"{self.name} answered `{line.strip()}` to {to}")
        return answer

    def _ask(self, line):
        try:
            print(line, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # `_answer` says how the process ended.
        return self._answer(f"`{line}`", ANSWER_LIMIT_S)

    def measure(self):
        """Does the work once."""
        return self._ask("go")

    def write_output(self, file):
        """Writes what the last run computed."""
        self._ask(f"out {file}")

    def close(self):
        """Ends the process: it stops by itself when its input ends, unless something is wrong with it."""
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

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Program:
    """A command that is run whole, start-up included.

    >>> import sys, tempfile
    >>> with tempfile.NamedTemporaryFile() as log:
    ...     sample = Program("p", [sys.executable, "-c", "print('{\\"a\\": 1}')"], log.name).measure()
    ...     Program("p", [sys.executable, "-c", "import sys; sys.exit('missing: cv2')"], log.name).measure()
    Traceback (most recent call last):
    contenders.Missing: cv2 is not installed
    >>> sample["stdout"], sample["seconds"] > 0, sample["peak_rss_mib"] > 1
    ('{"a": 1}\\n', True, True)
    """

    version = None

    def __init__(self, name, command, log):
        self.name, self.command, self.log = name, command, log

    def measure(self):
        """Runs it once."""
        with open(self.log, "w") as stderr:
            start = time.perf_counter()
            try:
                process = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True
                )
            except OSError as error:
                raise Missing(str(error)) from error
        # Reading to the end first lets the process write as much as it likes; `wait4` then knows what it used.
        stdout = process.stdout.read()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            words = tail(self.log)
            if words.startswith("missing: "):
                raise Missing(f"{words.removeprefix('missing: ')} is not installed")
            raise Failed(f"{self.name} ended with code {process.returncode}:\n{words}")
        return {
            "seconds": seconds,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_rss_mib": usage.ru_maxrss / 1024,
            "stdout": stdout,
        }

    def close(self):
        """Nothing stays."""

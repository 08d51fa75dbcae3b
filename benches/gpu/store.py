"""What is known so far: one JSON file in the output folder, replaced as a whole whenever a part ends. Standard library only."""

import json
import os
import time

SCHEMA = 2
DONE, FAILED, MISSING = "done", "failed", "missing"


class Store:
    """The parts that were tried, by name.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(Path(folder) / "results.json", "abc")
    ...     store.keep("doctor", DONE, 0.5, {"device": "x"})
    ...     store.keep("floor", MISSING, 0.1, None, "torch is not installed")
    ...     again, other = Store(store.path, "abc"), Store(store.path, "def")
    >>> again.result("doctor"), again.result("floor"), again.is_done("doctor"), other.is_done("doctor"), other.result("doctor")
    ({'device': 'x'}, None, True, False, None)
    """

    def __init__(self, path, program):
        self.path, self.program = path, program
        self.document = {"schema": SCHEMA, "parts": {}}
        if path.exists():
            self.document = json.loads(path.read_text())
            if self.document.get("schema") != SCHEMA:
                raise ValueError(f"`{path}` has schema {self.document.get('schema')}, expected {SCHEMA}: use another --out")

    def is_done(self, name):
        """Whether the part is finished, and was measured with the same program."""
        part = self.document["parts"].get(name)
        return part is not None and part["state"] == DONE and part["program_sha256"] == self.program

    def was_tried(self, name):
        return name in self.document["parts"]

    def result(self, name):
        """What a finished part found; figures of another program do not count."""
        return self.document["parts"][name]["result"] if self.is_done(name) else None

    def describe(self, **facts):
        """Facts about the machine and the programs."""
        self.document.update(facts)
        self._write()

    def keep(self, name, state, seconds, result, reason=None):
        self.document["parts"][name] = {
            "state": state,
            "reason": reason,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "seconds": round(seconds, 1),
            "program_sha256": self.program,
            "result": result,
        }
        self._write()

    def _write(self):
        replace(self.path, json.dumps(self.document, indent=1) + "\n")


def replace(path, text):
    """Writes a file that is whole at any time."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)

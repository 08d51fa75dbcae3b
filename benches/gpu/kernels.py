"""Which kernels compute our convolutions: where cuDNN is for them, and which were chosen. Standard library only."""

import json
import re
import subprocess

# `fixed`: our own by shape alone; `fastest`: whichever a trial on this device finds fastest, cuDNN's included.
FIXED, FASTEST = "fixed", "fastest"
SELECTIONS = (FIXED, FASTEST)
LIBRARY = "libcudnn.so.9"
CHOICES_SCHEMA = 1
FIND_LIMIT_S = 60
# Run by the peers' Python: finding a package does not import PyTorch, which takes seconds.
FIND = """
import importlib.util, os, sys
folders = []
for name, below in (("nvidia.cudnn", "lib"), ("torch", "lib")):
    try:
        spec = importlib.util.find_spec(name)
    except ImportError:
        spec = None
    folders += [os.path.join(folder, below) for folder in (spec.submodule_search_locations if spec else None) or []]
folders.append(os.path.join(sys.prefix, "lib"))
print(next((folder for folder in folders if os.path.exists(os.path.join(folder, sys.argv[1]))), ""))
"""


def find_cudnn(python):
    """The folder of cuDNN in a Python's environment, or None; and why there is none.

    >>> import sys
    >>> find_cudnn("/no/such/python")
    (None, '`/no/such/python` cannot be asked: No such file or directory')
    """
    command = [str(python), "-c", FIND, LIBRARY]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FIND_LIMIT_S, check=False)
    except OSError as error:
        return None, f"`{python}` cannot be asked: {error.strerror}"
    except subprocess.TimeoutExpired:
        return None, f"`{python}` did not say where {LIBRARY} is within {FIND_LIMIT_S} s"
    lines = done.stdout.splitlines()
    folder = lines[-1].strip() if lines else ""
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["no word"]
        return None, f"`{python}` ended with code {done.returncode}: {words[-1]}"
    return (folder, None) if folder else (None, f"there is no {LIBRARY} in the environment of `{python}`")


def used(timer):
    """How many convolutions each way computed, by what a measurement says of its timer; None where kernels were not chosen.

    >>> used("CUDA events around the replay of a graph; 3 convolutions by our own kernels, 0 by those for Hopper, 4 by cuDNN")
    {'own': 3, 'hopper': 0, 'cudnn': 4}
    >>> used("CUDA events around the replay of a graph"), used(None)
    (None, None)
    """
    found = re.search(r"; (\d+) convolutions by our own kernels, (\d+) by those for Hopper, (\d+) by cuDNN$", timer or "")
    return found and dict(zip(("own", "hopper", "cudnn"), map(int, found.groups()), strict=True))


def way(told):
    """A way as the file of choices has it, in words.

    >>> way("own"), way("hopper"), way({"cudnn": 3})
    ('own', 'own for Hopper', "cuDNN's algorithm 3")
    """
    if isinstance(told, dict) and set(told) == {"cudnn"}:
        return f"cuDNN's algorithm {told['cudnn']}"
    if told not in ("own", "hopper"):
        raise ValueError(f"the way {told} is not known")
    return "own" if told == "own" else "own for Hopper"


def choices(folder):
    """Every file of choices: its circumstances and answers, or why it cannot be read.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     answer = {"way": {"cudnn": 1}, "ms": 0.5, "own_ms": 1.0}
    ...     document = {"schema": 1, "circumstances": {"device": "x"}, "answers": {"f32 convolution": answer}}
    ...     for name, text in (("a", json.dumps(document)), ("b", "{"), ("c", '{"schema": 2}')):
    ...         _ = Path(folder, f"convolutions-{name}.json").write_text(text)
    ...     good, broken, newer = choices(Path(folder))
    >>> good["answers"], good["circumstances"]
    ({'f32 convolution': {'way': {'cudnn': 1}, 'ms': 0.5, 'own_ms': 1.0}}, {'device': 'x'})
    >>> broken["why_not"].partition(":")[0], newer["why_not"]
    ('JSONDecodeError', 'ValueError: expected schema 1, found 2')
    """
    found = []
    for file in sorted(folder.glob("convolutions-*.json")):
        try:
            document = json.loads(file.read_text())
            if document["schema"] != CHOICES_SCHEMA:
                raise ValueError(f"expected schema {CHOICES_SCHEMA}, found {document['schema']}")
            answers = {}
            for question, answer in document["answers"].items():
                way(answer["way"])
                answers[question] = {"way": answer["way"], "ms": float(answer["ms"]), "own_ms": float(answer["own_ms"])}
            found.append({"file": file.name, "circumstances": document["circumstances"], "answers": answers})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            found.append({"file": file.name, "why_not": f"{type(error).__name__}: {error}"})
    return found

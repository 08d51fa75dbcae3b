"""All parts against a made-up program and a made-up PyTorch, so that they are tested where there is no GPU. Standard library only.

The made-up figures are absurd on purpose and never leave the temporary folder. What is tested is what is asked of both, what becomes of
their answers, and what happens when one of them is wrong or not there.
"""

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

import report
import store

HERE = Path(__file__).resolve().parent
ROUNDS, BUDGET = "2", "0.01"

PROGRAM = '''#!PYTHON -SE
import json, os, pathlib, sys
sys.path.append(HERE)
LEVEL, PASSED, OTHER_PRECISION, NO_FASTEST, REFUSES, BROKEN = SETTINGS
words = sys.argv[1:]

def given(flag):
    return words[words.index("--" + flag) + 1] if "--" + flag in words else None

def say(document):
    print(json.dumps(document))

def write(path, text):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

command = words[0]
fastest = given("kernels") == "fastest"
if given("cuda-libs"):
    assert fastest
    if REFUSES:
        sys.exit("error: --cuda-libs `" + given("cuda-libs") + "`: made-up refusal; name the folder")
if fastest and NO_FASTEST:
    sys.exit("made-up trial failed")
if fastest:
    answer = {"way": {"cudnn": 1} if given("cuda-libs") else "hopper", "ms": 0.25, "own_ms": 0.5}
    kept = {"schema": 1, "circumstances": {"device": "made up", "driver_cuda": "0.0", "cudnn": None, "kernels": "0"}, "answers": {"made-up convolution": answer}}
    write(os.environ["XDG_CACHE_HOME"] + "/esr/convolutions-0.json", "{" if BROKEN else json.dumps(kept))
if command == "--version":
    print("esr 0.0.0 (made up)")
elif command == "doctor" and "--check-gpu" in words:
    assert given("check-gpu") == "cuda:0" and "--json" in words
    kernels = [{"name": "made-up", "passed": PASSED, "buffers": [], "problem": None if PASSED else "made-up"}]
    say({"device": "made-up", "passed": PASSED, "kernels": kernels, "networks": [{"name": "n", "passed": PASSED, "error": 0.0, "tolerance": 1.0}]})
    sys.exit(0 if PASSED else 1)
elif command == "doctor":
    say({"schema": 1, "findings": []})
elif command == "measure":
    assert given("device") == "cuda:0" and "--json" in words
    ms = 4.0 if given("launches") == "eager" else 3.0
    count = 3
    if given("lr"):
        assert given("protocol") == "ntire"
        count = len(os.listdir(given("lr")))
    elif given("training-step"):
        batch, patch = given("training-step").split("x")
        assert given("model") == "imdn:blocks=7,branches=1x1"
        ms = int(batch) * int(patch) / 100
    else:
        assert given("protocol") == "steady" and "x" in given("size") and float(given("budget")) > 0
    ms /= 2 if fastest else 1
    samples = [ms + number / 1000 for number in range(count)]
    log = os.environ.get("ESR_NVML_LIBRARY") is None
    if given("out"):
        lines = [
            {"kind": "header", "schema": 1, "period_ms": 20, "unavailable": None, "facts": {"name": "made-up"}},
            {"kind": "sample", "at_ns": 10**9, "sm_mhz": 1, "power_instant_mw": 1, "temperature_celsius": 1},
            {"kind": "mark", "at_ns": 10**9 + 5, "label": "window 1"},
            {"kind": "sample", "at_ns": 2 * 10**9, "sm_mhz": 2, "power_instant_mw": 2, "temperature_celsius": 2},
            {"kind": "footer", "cost": {"share_of_wall": 0.001}},
        ]
        write(given("out") + "/gpu-clocks.jsonl", "\\n".join(map(json.dumps, lines)))
    memory = {"planned_bytes": 1 << 20, "pool_peak_bytes": 2 << 20, "nvml_peak_bytes": 3 << 20}
    say({
        "schema": 1, "device": "cuda:0", "precision": OTHER_PRECISION or given("precision"), "median_ms": samples[1], "mean_ms": samples[1],
        "samples_ms": samples, "relative_iqr": 0.0, "validity": "valid", "validity_reason": "made up",
        "on_device": {"memory": memory, "timer": "made up" + ("; 3 convolutions by our own kernels, 1 by those for Hopper, 4 by cuDNN" if fastest else "")}, "gpu": {"sm_clock": {"median_mhz": 1.0}} if log else None,
    })
elif command == "upscale":
    import images
    data = pathlib.Path(next(word for word in words if word.endswith(".png"))).read_bytes()
    width, height, _ = images.decode(data)
    sr = images.png(4 * width, 4 * height, bytes([LEVEL]) * (48 * width * height))
    out = pathlib.Path(given("out"), "sr.png")
    out.write_bytes(sr)
elif command == "reproduce":
    print(pathlib.Path(HERE).parent.parent.joinpath("manifest/profiles", given("profile") + ".toml").read_text())
elif command == "train":
    settings = pathlib.Path(given("settings")).read_text()
    assert 'architecture = "imdn:blocks=7,branches=1x1"' in settings
    psnr = (20.0 if given("precision") == "f32" else 19.5) - (0.25 if fastest else 0)
    write(given("run") + "/train/metrics.jsonl", json.dumps({"step": 7, "loss": 0.5, "valid_psnr_rgb_db": psnr}))
else:
    sys.exit("the made-up program has no " + command)
'''

PEER = '''import json, pathlib, sys
if MISSING:
    print(json.dumps({"ready": False, "missing": "torch is not installed"}), flush=True)
    sys.exit()
mode = sys.argv[sys.argv.index("--mode") + 1]
print(json.dumps({"ready": True, "version": "made up", "device": "made up", "uuid": "GPU-made-up"}), flush=True)
ms = {"eager": 10.0, "channels_last": 9.0, "graph": 5.0, "compile": 7.0}.get(mode, 8.0)
work = None
for line in sys.stdin:
    command = json.loads(line)
    what = command["do"]
    answer = {}
    if mode == "compile_max_autotune" and what == "prepare":
        answer = {"error": "made-up refusal"}
    elif what == "prepare":
        work = command
        answer = {"prepared": True, "seconds": 0.0, "losses": [1.0, 0.5] if command["work"] == "train" else None}
    elif what == "measure":
        scale = command["seconds"] and (work["width"] if "width" in work else work["patch"]) / 64
        answer = {"samples_ms": [ms * scale] * 3, "forwards": 3, "memory": {"max_memory_allocated": 5 << 20}}
    elif what == "save":
        pathlib.Path(command["file"]).write_bytes(bytes([128]) * (48 * work["width"] * work["height"]))
    elif what == "ntire":
        answer = {"samples_ms": [9.0] + [2.0] * (len(command["images"]) - 1), "memory": None}
    elif what == "rates":
        answer = {name: [1e12] * 5 for name in ("f32", "tf32", "f16", "bf16", "copy")}
    else:
        answer = {"error": "unknown"}
    print(json.dumps(answer), flush=True)
'''


class Scene:
    """A folder with a program and a PyTorch that behave as told."""

    def __init__(self, folder, name, *, level=128, passed=True, precision=None, no_torch=False, no_fastest=False, refuses=False, broken=False, cudnn=True):
        self.folder = Path(folder, name)
        self.folder.mkdir()
        self.esr, self.peer, self.out = (self.folder / part for part in ("esr", "peer.py", "out"))
        text = PROGRAM.replace("PYTHON", sys.executable).replace("HERE", repr(str(HERE)))
        self.esr.write_text(text.replace("SETTINGS", repr((level, passed, precision, no_fastest, refuses, broken))))
        self.esr.chmod(0o755)
        self.python = self.folder / "python"
        answer = 'print("/made/up/cudnn")' if cudnn else 'print()'
        self.python.write_text(f"#!/bin/sh\nif [ \"$1\" = -c ]; then exec {sys.executable} -c '{answer}'; fi\nexec {sys.executable} \"$@\"\n")
        self.python.chmod(0o755)
        self.peer.write_text(PEER.replace("MISSING", repr(no_torch)))

    def call(self, run, arguments, *more):
        """Exit code, results and report of a call."""
        given = ["--esr", self.esr, "--out", self.out, "--python", self.python, "--peer", self.peer]
        given += ["--rounds", ROUNDS, "--budget", BUDGET, *more]
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            code = run(arguments([str(part) for part in given]))
        document = json.loads((self.out / "results.json").read_text())
        return code, document, (self.out / "report.md").read_text(), said.getvalue()


def problems(run, arguments, names):
    """What did not go as it must, in words."""
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for check in (everything, wrong_results, wrong_precision, no_pytorch, fastest_fails, cudnn_refused, no_cudnn, unreadable_choices):
            found += [f"rehearsal, {check.__name__}: {problem}" for problem in check(folder, run, arguments, names)]
        return found + [f"rehearsal, nothing: {problem}" for problem in nothing(folder)]


def everything(folder, run, arguments, names):
    """All parts end well, and a second call has nothing to do."""
    scene = Scene(folder, "everything")
    code, document, text, said = scene.call(run, arguments)
    for name in names:
        part = document["parts"].get(name)
        if part is None or part["state"] != store.DONE:
            yield f"{name} is {part and part['state']}: {part and part['reason']}"
    if code != 0:
        yield f"exit code {code}, expected 0:\n{said}"
    work = document["parts"]["infer:256x256:f16"]["result"]
    # With the fastest kernels ours takes 1.5 ms, and the made-up graph 5 · 256 / 64 ms.
    if (work["ours"], work["fastest_peer"]) != ("esr fastest graph", "PyTorch graph") or work["counts"] != "fastest" or abs(work["by_kernels"]["fixed"]["ratio"]["median"] - 3.001 / 20) > 1e-9 or abs(work["ratio"]["median"] - 1.501 / 20) > 1e-9:
        yield f"the fastest are {work['ours']} and {work['fastest_peer']}, ratio {work['ratio']}"
    # Two rounds are too few for a verdict, whatever they say.
    if work["verdict"] != "too few rounds" or [a["name"] for a in work["absent"]] != ["PyTorch compile_max_autotune"]:
        yield f"verdict {work['verdict']}, absent {work['absent']}"
    # 32 · 64 / 100 and 32 · 160 / 100 ms a step, 539,063 steps each.
    if "bf16: 5.37 h for all stages" not in text or "539,063" not in text:
        yield f"the hours of the recipe are not in the report: {report_lines(text, 'for all stages')}"
    if "| infer:256x256:f16 | 1.0 | 2.0 | 3.0 | 5.0 | 5.0 (PyTorch" not in text:
        yield f"memory is not in the report: {report_lines(text, '| infer:256x256:f16 | ')}"
    if "bf16 fixed less f32 fixed: -0.5000 dB, from -0.5000 to -0.5000, n 3" not in text:
        yield f"the PSNR effect is not in the report: {report_lines(text, 'less f32')}"
    if "bf16 fastest less f32 fixed: -0.7500 dB" not in text or "- f32 fastest less f32 fixed: -0.2500 dB" not in text:
        yield "the PSNR effect of chosen kernels is not in the report"
    if "| made-up convolution | 0.5000 | cuDNN's algorithm 1 | 0.2500 |" not in text:
        yield f"choices are not in the report: {report_lines(text, 'made-up convolution')}"
    if "<svg" not in (scene.out / "gpu-clocks.svg").read_text():
        yield "the log was not drawn"
    later = scene.call(run, arguments)
    if later[1]["parts"] != document["parts"] or later[0] != 0:
        yield "the second call did finished parts again"
    again = scene.call(run, arguments, "--parts", "floor", "--again")
    if again[1]["parts"]["doctor"] != document["parts"]["doctor"] or again[0] != 0:
        yield "`--parts floor --again` touched another part"


def wrong_results(folder, run, arguments, _names):
    """A program that computes something else is no winner."""
    scene = Scene(folder, "wrong", level=200, passed=False)
    code, document, text, _ = scene.call(run, arguments, "--parts", "correct,infer:256x256:f32")
    work = document["parts"]["infer:256x256:f32"]["result"]
    if code != 1 or work["ours"] is not None or work["verdict"] != "not measured":
        yield f"exit code {code}, ours {work['ours']}, verdict {work['verdict']}"
    if "computes something else" not in text or "failed: kernel made-up: made-up" not in text:
        yield "the report does not say so"


def wrong_precision(folder, run, arguments, _names):
    """A program that computes in another precision than it was told has failed."""
    scene = Scene(folder, "precision", precision="f32")
    code, document, _, _ = scene.call(run, arguments, "--parts", "infer:256x256:f16")
    absent = document["parts"]["infer:256x256:f16"]["result"]["absent"]
    if code != 1 or not any("computed f32" in entry["reason"] for entry in absent):
        yield f"exit code {code}, absent {absent}"


def no_pytorch(folder, run, arguments, _names):
    """Without PyTorch ours is measured all the same, and ratios are not."""
    scene = Scene(folder, "alone", no_torch=True)
    code, document, text, _ = scene.call(run, arguments, "--parts", "floor,infer:256x256:f16")
    work = document["parts"]["infer:256x256:f16"]["result"]
    if document["parts"]["floor"]["state"] != store.MISSING or code != 1:
        yield f"floor is {document['parts']['floor']['state']}, exit code {code}"
    if len(work["entrants"]) != 3 or work["ratio"] is not None:
        yield f"{len(work['entrants'])} took part, ratio {work['ratio']}"
    if "not measured: missing, torch is not installed" not in text:
        yield "the report does not say what is missing"


def fastest_fails(folder, run, arguments, _names):
    """Where no kernels can be chosen, the fixed ones are measured and count, and the call says that something failed."""
    code, document, text, _ = Scene(folder, "fixed", no_fastest=True).call(run, arguments, "--parts", "infer:256x256:f16")
    work = document["parts"]["infer:256x256:f16"]["result"]
    if code != 1 or work["counts"] != "fixed" or list(work["by_kernels"]) != ["fixed"] or "made-up trial failed" not in str(work["absent"]):
        yield f"exit code {code}, counts {work['counts']}, absent {work['absent']}"
    if "esr fastest graph: not measured, failed" not in text:
        yield "the report does not say so"


def cudnn_refused(folder, run, arguments, _names):
    """A cuDNN that the program refuses is named, and the fastest are chosen without it."""
    code, document, text, _ = Scene(folder, "refused", refuses=True).call(run, arguments, "--parts", "infer:256x256:f16")
    if code != 0 or "made-up refusal" not in (document["cudnn"]["refused"] or "") or "| own for Hopper |" not in text:
        yield f"exit code {code}, cuDNN {document['cudnn']}"


def no_cudnn(folder, run, arguments, _names):
    """Without cuDNN in the peers' environment the program chooses among what it finds itself."""
    code, document, text, _ = Scene(folder, "without", cudnn=False).call(run, arguments, "--parts", "infer:256x256:f16")
    if code != 0 or document["cudnn"]["folder"] is not None or "there is no libcudnn.so.9" not in text or "| own for Hopper |" not in text:
        yield f"exit code {code}, cuDNN {document['cudnn']}"


def unreadable_choices(folder, run, arguments, _names):
    """A file of choices that cannot be read is named in the report, and figures stay."""
    code, document, text, _ = Scene(folder, "unreadable", broken=True).call(run, arguments, "--parts", "infer:256x256:f16")
    if code != 0 or "`convolutions-0.json` cannot be read: JSONDecodeError" not in text:
        yield f"exit code {code}, choices {document['choices']}"


def nothing(folder):
    """A report of nothing has no figure."""
    text = report.Report(store.Store(Path(folder) / "none.json", "x")).text()
    if "not measured" not in text or " ms," in text:
        yield text


def report_lines(text, part):
    return [line for line in text.splitlines() if part in line]



#!/usr/bin/env python3
"""Makes the PTX that is checked in beside the kernels' sources, with the compiler library of one pinned wheel; no GPU and no toolkit is needed.

    build.py build          compile everything into ptx/
    build.py check          compile everything and compare; 1 if a file is stale
    build.py report         assemble for each architecture and write ptx/README.md: registers, spills, shared memory

The compiler is that of CUDA 12.0, whose PTX every driver of CUDA 12 or later takes. The assembler is newer, because it has to know newer architectures.
"""
import argparse
import ctypes
import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
PTX = HERE / "ptx"
# The families of kernels: what each is compiled for, the macro that says so, and what it is assembled for. Code for `sm_90a` runs on that architecture and no other.
FAMILIES = {
    None: ("compute_80", None, ["sm_80", "sm_86", "sm_89", "sm_90"]),
    "hopper": ("compute_90a", "HOPPER", ["sm_90a"]),
}
COLUMNS = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_90a"]
COMPILER = (
    "nvidia-cuda-nvrtc-cu12==12.0.140",
    ["8e94e991d85c422de4da87bdc7472fdc1364367bd4aace7000b559cd33122071"],
)
ASSEMBLER = (
    "nvidia-cuda-nvcc-cu12==12.9.86",
    ["5d6a0d32fdc7ea39917c20065614ae93add6f577d840233237ff08e9a38f58f0"],
)
# Which sources there are, for which mathematics each is compiled, and in which family.
UNITS = [
    ("convolution", ["f32", "tf32", "f16", "bf16"], None),
    ("convolution", ["f16", "bf16"], "hopper"),
    ("gradient", ["f32", "tf32", "bf16"], None),
    ("elementwise", ["f32", "f16", "bf16"], None),
    ("library", ["f32", "f16", "bf16"], None),
    ("training", [None], None),
    ("measure", [None], None),
]
# What the assembler says where it makes asynchronous matrix products wait for each other, which is slow: such kernels are not wanted.
SERIALISED = "wgmma.mma_async instructions are serialized"


class Failure(Exception):
    """What a person has to see."""


def units():
    """Source, mathematics, family and the name of the PTX of everything that is compiled."""
    for name, maths, family in UNITS:
        source = HERE / f"{name}.cu"
        if not source.exists():
            raise Failure(f"{source} is missing")
        for math in maths:
            yield source, math, family, ".".join(part for part in (name, math, family, "ptx") if part)


def fingerprint(source):
    """One hash over a source and all headers, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted([source, *HERE.glob("*.cuh")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def wheel(requirement, hashes, tools):
    """Downloads and unpacks a wheel once; returns its folder."""
    folder = tools / requirement.replace("==", "-")
    if folder.is_dir():
        return folder
    tools.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tools) as work:
        work = pathlib.Path(work)
        wanted = work / "requirements.txt"
        wanted.write_text(" ".join([requirement, *(f"--hash=sha256:{found}" for found in hashes)]) + "\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        done = subprocess.run([*command, "-d", str(work), "-r", str(wanted)], capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"{requirement} could not be downloaded: {done.stderr.strip() or done.stdout.strip()}")
        (found,) = work.glob("*.whl")
        unpacked = work / "unpacked"
        with zipfile.ZipFile(found) as archive:
            archive.extractall(unpacked)
        unpacked.rename(folder)
    return folder


def only(folder, pattern):
    found = sorted(folder.rglob(pattern))
    if not found:
        raise Failure(f"{folder} has no {pattern}")
    return found[0]


class Compiler:
    """The little of NVRTC's interface that is needed."""

    def __init__(self, folder):
        # It opens the library of built-in functions by its bare name.
        ctypes.CDLL(str(only(folder, "libnvrtc-builtins.so*")), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(only(folder, "libnvrtc.so*")))

    def call(self, name, *arguments):
        return getattr(self.library, name)(*arguments)

    def text(self, program, what):
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(f"nvrtcGet{what}", program, buffer)
        return buffer.value.decode()

    def ptx(self, source, math, family):
        architecture, macro, _ = FAMILIES[family]
        options = [f"--gpu-architecture={architecture}", "--std=c++17", f"--include-path={HERE}"]
        if math:
            options.append(f"--define-macro=MATH_{math.upper()}")
        if macro:
            options.append(f"--define-macro={macro}")
        program = ctypes.c_void_p()
        name = source.name.encode()
        self.call("nvrtcCreateProgram", ctypes.byref(program), source.read_bytes(), name, 0, None, None)
        raw = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        code = self.call("nvrtcCompileProgram", program, len(options), raw)
        log = self.text(program, "ProgramLog").strip()
        if code:
            raise Failure(f"{source.name} for {math} does not compile:\n{log}")
        if log:
            print(log, file=sys.stderr)
        head = f"// Made from {source.name} by build.py; the sources' SHA-256 is {fingerprint(source)}\n"
        return head + self.text(program, "PTX")


def build(tools, only_units):
    compiler = Compiler(wheel(*COMPILER, tools))
    PTX.mkdir(exist_ok=True)
    for source, math, family, name in units():
        if not only_units or source.stem in only_units:
            (PTX / name).write_text(compiler.ptx(source, math, family))
            print(f"made {name}")


def check(tools):
    compiler = Compiler(wheel(*COMPILER, tools))
    stale = []
    for source, math, family, name in units():
        path = PTX / name
        if not path.exists() or path.read_text() != compiler.ptx(source, math, family):
            stale.append(name)
    expected = {name for *_, name in units()}
    stale += sorted(path.name for path in PTX.glob("*.ptx") if path.name not in expected)
    if stale:
        raise Failure(f"stale: {', '.join(stale)}; run `make kernels` and commit what it makes")
    print(f"{len(expected)} PTX files are what their sources make")


def resources(assembler, path, architecture):
    """Registers, bytes of spills and of static shared memory of each kernel of a file."""
    command = [str(assembler), "-v", f"-arch={architecture}", str(path), "-o", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"{path.name} does not assemble for {architecture}:\n{done.stderr}")
    if SERIALISED in done.stderr + done.stdout:
        raise Failure(f"{path.name} for {architecture}: matrix products would wait for each other:\n{done.stderr}{done.stdout}")
    found, name = {}, None
    for line in done.stderr.splitlines():
        entry = re.search(r"Compiling entry function '(\w+)'", line)
        name = entry.group(1) if entry else name
        spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)
        if spills:
            found.setdefault(name, {})["spills"] = int(spills.group(1)) + int(spills.group(2))
        used = re.search(r"Used (\d+) registers", line)
        if used:
            shared = re.search(r"(\d+) bytes smem", line)
            found.setdefault(name, {}).update(registers=int(used.group(1)), shared=int(shared.group(1)) if shared else 0)
    return found


def report(tools):
    assembler = only(wheel(*ASSEMBLER, tools), "ptxas")
    assembler.chmod(0o755)
    lines = [
        "# What the kernels take",
        "",
        f"Written by `make kernels` from what `ptxas` of {ASSEMBLER[0]} says of the PTX in this folder: registers of a thread for each architecture, bytes of",
        "spills (stores and loads, the most of all architectures), bytes of static shared memory. Dynamic shared memory is in `src/engine/cuda`. A dash: the file is",
        "not for this architecture. In files for sm_90a, `ptxas` serialises no matrix products: `make kernels` fails where it would.",
        "",
        "| file | kernel | " + " | ".join(COLUMNS) + " | spills | shared |",
        "| --- | --- |" + " ---: |" * (len(COLUMNS) + 2),
    ]
    head = len(lines)
    for _, _, family, name in units():
        by_architecture = {one: resources(assembler, PTX / name, one) for one in FAMILIES[family][2]}
        for kernel in sorted(next(iter(by_architecture.values()))):
            registers = {one: str(found[kernel]["registers"]) for one, found in by_architecture.items()}
            all_of = [found[kernel] for found in by_architecture.values()]
            cells = [name, f"`{kernel}`", *(registers.get(one, "–") for one in COLUMNS)]
            cells += [str(max(one.get("spills", 0) for one in all_of)), str(max(one["shared"] for one in all_of))]
            lines.append("| " + " | ".join(cells) + " |")
    (PTX / "README.md").write_text("\n".join(lines) + "\n")
    print(f"wrote the resources of {len(lines) - head} kernels")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["build", "check", "report"])
    parser.add_argument("--tools", type=pathlib.Path, default=pathlib.Path("target/cuda-tools"), help="where the wheels go")
    parser.add_argument("--only", nargs="*", help="with build: these sources only, e.g. convolution")
    arguments = parser.parse_args()
    try:
        if arguments.what == "build":
            build(arguments.tools, arguments.only)
        elif arguments.what == "check":
            check(arguments.tools)
        else:
            report(arguments.tools)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

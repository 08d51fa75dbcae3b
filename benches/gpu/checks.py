"""What the machine is, and whether our kernels compute what their plain twins do. Standard library only."""

import os
import shutil

from program import Failed, Missing

# Where the CUDA toolkit puts the tool when nobody put it on PATH.
TOOLKIT_BIN = "/usr/local/cuda/bin"
SANITIZER, TOOLS = "compute-sanitizer", ("memcheck", "racecheck")
# Small: each access is checked, which makes kernels some hundred times slower.
SANITIZED_SIZE = "48x32"


def doctor(ctx):
    """What our program sees of the machine."""
    return ctx.esr.doctor(ctx.left(60))


def correct(ctx):
    """Kernels, forward, gradients and 50 training steps against the CPU engine; then the sanitizer, where it is installed."""
    document = ctx.esr.check_gpu(ctx.left())
    failures = [f"kernel {k.get('name')}: {k.get('problem')}" for k in document.get("kernels", []) if not k.get("passed")]
    failures += [f"network {n.get('name')}: {n.get('error')}" for n in document.get("networks", []) if not n.get("passed")]
    return {"passed": document["passed"], "failures": failures, "sanitizer": sanitized(ctx), "document": document}


def sanitized(ctx):
    """One entry a tool."""
    search = os.pathsep.join((os.environ.get("PATH", ""), TOOLKIT_BIN))
    program = shutil.which(SANITIZER, path=search)
    if program is None:
        return {"why_not": f"{SANITIZER} is not installed"}
    found = {}
    for tool in TOOLS:
        wrapper = [program, "--tool", tool, "--error-exitcode", "99"]
        try:
            clean, words = ctx.esr.sanitized(wrapper, SANITIZED_SIZE, ctx.left())
            found[tool] = {"clean": clean, "last_words": words}
        except (Failed, Missing) as error:
            found[tool] = {"clean": None, "why_not": str(error)}
    return found

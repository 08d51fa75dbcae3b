"""Files that onnxruntime, OpenVINO and ncnn run, made once from the PyTorch model and kept in a scratch folder.

The export happens in a process of its own, so that the memory of the one that is measured holds no PyTorch.
"""

import argparse
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

# What decides the exported file besides the weights: a new version of any of these makes a new one.
EXPORTERS = {"onnx": ("torch", "onnxscript"), "ncnn": ("torch", "pnnx")}


def exported(kind, weights, scratch):
    """The path of the exported model, without extension; exports it if need be. `weights` may be None: seeded random ones."""
    content = Path(weights).read_bytes() if weights else b"seeded"
    for source in ("model.py", "export.py"):
        content += Path(__file__).with_name(source).read_bytes()
    versions = "-".join(f"{name}{importlib.metadata.version(name)}" for name in EXPORTERS[kind])
    key = hashlib.sha256(content + versions.encode()).hexdigest()[:16]
    folder = Path(scratch).resolve() / f"{kind}-{key}"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
        partial.mkdir(parents=True)
        command = [sys.executable, __file__, "--kind", kind, "--folder", str(partial)]
        command += ["--weights", str(weights)] if weights else []
        subprocess.run(command, check=True, stdout=sys.stderr)
        try:
            partial.rename(folder)
        except OSError:
            # Another contender exported the same at the same time; its files are as good.
            shutil.rmtree(partial)
    return folder / "model"


def export_onnx(model, folder):
    import torch

    height, width = (torch.export.Dim(name, min=8, max=8192) for name in ("height", "width"))
    torch.onnx.export(
        model,
        (torch.rand(1, 3, 64, 48),),
        str(folder / "model.onnx"),
        input_names=["lr"],
        output_names=["sr"],
        dynamic_shapes=({2: height, 3: width},),
        opset_version=18,
        dynamo=True,
        external_data=False,
    )


def export_ncnn(model, folder):
    import torch

    traced = torch.jit.trace(model, torch.rand(1, 3, 64, 48), check_trace=False)
    traced.save(str(folder / "model.pt"))
    pnnx = shutil.which("pnnx", path=os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", ""))
    command = [pnnx, "model.pt", "inputshape=[1,3,64,48]", "inputshape2=[1,3,80,72]", "fp16=0"]
    subprocess.run(command, check=True, stdout=sys.stderr, cwd=folder)
    for product in ("param", "bin"):
        (folder / f"model.ncnn.{product}").rename(folder / f"model.{product}")


def main():
    parser = argparse.ArgumentParser(description="Export the model for one kind of peer.")
    parser.add_argument("--kind", choices=EXPORTERS, required=True)
    parser.add_argument("--weights")
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    import model

    network = model.build(args.weights).eval().requires_grad_(False)
    {"onnx": export_onnx, "ncnn": export_ncnn}[args.kind](network, args.folder)


if __name__ == "__main__":
    main()

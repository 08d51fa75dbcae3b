"""The peers: each loads the model its own way and computes in f32 with a given number of threads.

An inference backend has `version`, `input(array)` (NCHW f32 in 0..1 to what the peer takes), `run(input)` (the part that is timed) and
`array(output)` (back to NCHW f32). Packages are imported where they are needed: a peer's memory holds nobody else's libraries.
"""

import os

from export import exported

# The learning rate of the timed training steps; the Rust contender uses the same, so that losses can be compared step by step.
LEARNING_RATE = 2e-4

TORCH_VARIANTS = {"channels_last", "folded", "compile"}
BACKENDS = (
    "torch",
    "torch_channels_last",
    "torch_folded",
    "torch_channels_last_folded",
    "torch_compile",
    "torch_channels_last_compile",
    "onnxruntime",
    "openvino",
    "ncnn",
)


def limit_threads(threads):
    """Must come before the first import of a numerical library."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


class _Torch:
    """What inference and training with PyTorch share: the variant, the model, the memory format."""

    def __init__(self, backend, threads, weights, scratch, branches=False):
        self.variant = {name for name in TORCH_VARIANTS if name in backend}
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(os.path.abspath(scratch), "inductor"))
        import torch

        from model import build

        self.torch, self.version = torch, torch.__version__
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self.model = self._formatted(build(weights, branches, fold="folded" in self.variant))

    def _formatted(self, what):
        if "channels_last" in self.variant:
            return what.to(memory_format=self.torch.channels_last)
        return what

    def input(self, array):
        return self._formatted(self.torch.from_numpy(array))


class TorchInference(_Torch):
    """Eager, in another memory format, or compiled with the weights as constants."""

    def __init__(self, backend, threads, weights, scratch, size=None):
        super().__init__(backend, threads, weights, scratch)
        self.model.eval().requires_grad_(False)
        # Freezing the weights into the compiled code is refused in inference mode.
        self.mode = self.torch.no_grad if "compile" in self.variant else self.torch.inference_mode
        self.forward = self.model
        if "compile" in self.variant:
            import torch._inductor.config

            torch._inductor.config.freezing = True
            self.forward = self.torch.compile(self.model, dynamic=size is None)

    def run(self, x):
        with self.mode():
            return self.forward(x)

    def array(self, output):
        return output.contiguous().numpy()


class TorchTraining(_Torch):
    """Forward, L1 loss, backward, Adam: one step after the other, always on the same batch."""

    def __init__(self, backend, threads, weights, scratch, branches, lr, hr):
        super().__init__(backend, threads, weights, scratch, branches)
        self.model.train()
        self.lr, self.hr = self.input(lr), self.torch.from_numpy(hr)
        self.adam = self.torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE, fused=True)
        self.forward = self.torch.compile(self.model, dynamic=False) if "compile" in self.variant else self.model

    def step(self):
        """The loss before the update."""
        self.adam.zero_grad(set_to_none=True)
        loss = self.torch.nn.functional.l1_loss(self.forward(self.lr), self.hr)
        loss.backward()
        self.adam.step()
        return loss.item()


class OnnxRuntime:
    def __init__(self, threads, weights, scratch, size=None):
        import onnxruntime

        self.version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        if size:
            for name, extent in zip(("height", "width"), size, strict=True):
                options.add_free_dimension_override_by_name(name, extent)
        file = f"{exported('onnx', weights, scratch)}.onnx"
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def input(self, array):
        return {"lr": array}

    def run(self, x):
        return self.session.run(None, x)[0]

    def array(self, output):
        return output


class OpenVino:
    def __init__(self, threads, weights, scratch, size=None):
        import openvino

        self.version = openvino.__version__
        core = openvino.Core()
        model = core.read_model(f"{exported('onnx', weights, scratch)}.onnx")
        if size:
            model.reshape([1, 3, *size])
        # Without the hint OpenVINO computes in bf16 on processors that have it.
        config = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self.request = core.compile_model(model, "CPU", config).create_infer_request()

    def input(self, array):
        return {0: array}

    def run(self, x):
        return self.request.infer(x, share_inputs=True, share_outputs=True)[0]

    def array(self, output):
        return output.copy()


class Ncnn:
    def __init__(self, threads, weights, scratch, size=None):
        import ncnn

        self.ncnn, self.version = ncnn, ncnn.__version__
        self.net = ncnn.Net()
        options = self.net.opt
        options.num_threads = threads
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        base = exported("ncnn", weights, scratch)
        for load, product in ((self.net.load_param, "param"), (self.net.load_model, "bin")):
            if load(f"{base}.{product}") != 0:
                raise RuntimeError(f"ncnn cannot load `{base}.{product}`")

    def input(self, array):
        # ncnn knows no batches; the copy keeps the values alive.
        return self.ncnn.Mat(array[0]).clone()

    def run(self, x):
        extractor = self.net.create_extractor()
        extractor.input("in0", x)
        code, output = extractor.extract("out0")
        if code != 0:
            raise RuntimeError(f"ncnn failed with code {code}")
        return output

    def array(self, output):
        import numpy

        return numpy.array(output)[None]


def inference(backend, threads, weights, scratch, size=None):
    """A peer ready to run; `size` is (height, width) if it never changes, else None."""
    if backend.startswith("torch"):
        return TorchInference(backend, threads, weights, scratch, size)
    peers = {"onnxruntime": OnnxRuntime, "openvino": OpenVino, "ncnn": Ncnn}
    return peers[backend](threads, weights, scratch, size)

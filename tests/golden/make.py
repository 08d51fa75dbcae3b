"""Makes c_tiny_clb_f64.safetensors and c_tiny_clb.safetensors again with PyTorch, and says how far the results are from the files here.

    python tests/golden/make.py            # compare only
    python tests/golden/make.py OUT_DIR    # also write the files there

The inputs (`lr`, `hr`) and the initial weights (`init/*`) are taken from the file, so no random generator has to be matched. Everything else follows
from them: an IMDN with 16 channels and 2 blocks whose block convolutions have a parallel 1x1 branch, the L1 loss, and ten steps of Adam.
Needs torch, numpy and safetensors. README.md names the versions that made the files.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
BLOCKS, DISTILLED, SLOPE, SCALE, STEPS = 2, 4, 0.05, 4, 10


def conv3x3(p, x, name, branch=None):
    y = F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=1)
    if branch is not None and f"{branch}.branch1x1.weight" in p:
        y = y + F.conv2d(x, p[f"{branch}.branch1x1.weight"], p[f"{branch}.branch1x1.bias"])
    return y


def forward(p, x):
    head = y = conv3x3(p, x, "model.0")
    for block in range(BLOCKS):
        path, rest, kept = f"model.1.sub.{block}", y, []
        for step in (1, 2, 3):
            branch = f"{path}.conv{step}"
            t = F.leaky_relu(conv3x3(p, rest, f"{branch}.0", branch), SLOPE)
            kept.append(t[:, :DISTILLED])
            rest = t[:, DISTILLED:]
        kept.append(conv3x3(p, rest, f"{path}.conv4", f"{path}.conv4"))
        y = y + F.conv2d(torch.cat(kept, 1), p[f"{path}.conv1x1.weight"], p[f"{path}.conv1x1.bias"])
    features = head + conv3x3(p, y, f"model.1.sub.{BLOCKS}")
    return F.pixel_shuffle(conv3x3(p, features, "model.2"), SCALE)


def collapse(p):
    """The 1x1 kernel is added to the middle of the 3x3 kernel, and its bias to the bias."""
    plain = {key: value.clone() for key, value in p.items() if "branch1x1" not in key}
    for key, value in p.items():
        if ".branch1x1." in key:
            path, part = key.split(".branch1x1.")
            target = f"{path}.{part}" if f"{path}.{part}" in plain else f"{path}.0.{part}"
            if part == "weight":
                plain[target][:, :, 1, 1] += value[:, :, 0, 0]
            else:
                plain[target] += value
    return plain


def group(out, name, arrays):
    out.update({f"{name}/{key}": value.detach().clone() for key, value in arrays.items()})


def train(init, lr, hr, dtype):
    p = {key: value.detach().clone().to(dtype).requires_grad_() for key, value in init.items()}
    lr, hr = lr.to(dtype), hr.to(dtype)
    adam = torch.optim.Adam(p.values(), lr=2e-4, betas=(0.9, 0.999), eps=1e-8, foreach=False)
    out, losses = {}, []
    for step in range(1, STEPS + 1):
        adam.zero_grad(set_to_none=True)
        sr = forward(p, lr)
        loss = F.l1_loss(sr, hr)
        loss.backward()
        losses.append(loss.item())
        if step == 1:
            out["forward"] = sr.detach().clone()
            group(out, "grad", {key: value.grad for key, value in p.items()})
        adam.step()
        if step in (1, 2, STEPS):
            group(out, f"adam{step}", p)
    group(out, "adam10_exp_avg", {key: adam.state[value]["exp_avg"] for key, value in p.items()})
    group(out, "adam10_exp_avg_sq", {key: adam.state[value]["exp_avg_sq"] for key, value in p.items()})
    out["forward_after10"] = forward(p, lr).detach()
    return out, losses


def main():
    torch.set_num_threads(2)
    stored = load_file(HERE / "c_tiny_clb.safetensors")
    stored_f64 = load_file(HERE / "c_tiny_clb_f64.safetensors")
    init = {key.removeprefix("init/"): value for key, value in stored.items() if key.startswith("init/")}
    lr, hr = stored["lr"], stored["hr"]

    made, losses = train(init, lr, hr, torch.float32)
    made |= {"lr": lr, "hr": hr}
    group(made, "init", init)
    plain = {key: value.detach().requires_grad_() for key, value in collapse(init).items()}
    made["forward_collapsed"] = forward(plain, lr).detach()
    F.l1_loss(forward(plain, lr), hr).backward()
    group(made, "collapsed", plain)
    group(made, "collapsed_grad", {key: value.grad for key, value in plain.items()})

    made_f64, losses_f64 = train(init, lr, hr, torch.float64)
    made_f64 = {key: value for key, value in made_f64.items() if key in stored_f64}

    for name, made_here, stored_there in (("f32", made, stored), ("f64", made_f64, stored_f64)):
        assert made_here.keys() == stored_there.keys(), made_here.keys() ^ stored_there.keys()
        worst = max((made_here[key] - stored_there[key]).abs().max().item() for key in made_here)
        print(f"{name}: {len(made_here)} arrays, largest absolute difference {worst:.3g}")
    print("losses f32", losses, "\nlosses f64", losses_f64)
    if len(sys.argv) > 1:
        out = Path(sys.argv[1])
        contiguous = lambda arrays: {key: value.detach().contiguous() for key, value in arrays.items()}
        save_file(contiguous(made), out / "c_tiny_clb.safetensors")
        save_file(contiguous(made_f64), out / "c_tiny_clb_f64.safetensors")


if __name__ == "__main__":
    main()

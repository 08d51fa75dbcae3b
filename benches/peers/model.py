"""IMDN as the NTIRE 2022 kit simplifies it, in PyTorch, with the official parameter names.

In its training form each 3x3 convolution of a block has a parallel 1x1 branch whose output is added before the
activation. `fold` computes the sum as one 3x3 convolution whose weight is made from both at every step, which is
mathematically the same.
"""

import re

import torch
from torch import nn
from torch.nn import functional as F

BLOCKS, CHANNELS, DISTILLED, SCALE, SLOPE = 7, 64, 16, 4, 0.05


class Collapsible(nn.Conv2d):
    """A 3x3 convolution and a parallel 1x1 convolution, summed."""

    def __init__(self, inputs, outputs, fold):
        super().__init__(inputs, outputs, 3, padding=1)
        self.branch1x1 = nn.Conv2d(inputs, outputs, 1)
        self.fold = fold

    def forward(self, x):
        if not self.fold:
            return super().forward(x) + self.branch1x1(x)
        weight = self.weight + F.pad(self.branch1x1.weight, (1, 1, 1, 1))
        return F.conv2d(x, weight, self.bias + self.branch1x1.bias, padding=1)


class Block(nn.Module):
    """Information multi-distillation: three convolutions set channels aside, a fourth makes as many, a 1x1 fuses them."""

    def __init__(self, conv3x3):
        super().__init__()
        rest = CHANNELS - DISTILLED
        for step, inputs in ((1, CHANNELS), (2, rest), (3, rest)):
            layers = nn.Sequential(conv3x3(inputs, CHANNELS), nn.LeakyReLU(SLOPE, inplace=True))
            self.add_module(f"conv{step}", layers)
        self.conv4 = conv3x3(rest, DISTILLED)
        self.conv1x1 = nn.Conv2d(4 * DISTILLED, CHANNELS, 1)

    def forward(self, x):
        kept, rest = [], x
        for conv in (self.conv1, self.conv2, self.conv3):
            distilled, rest = torch.split(conv(rest), (DISTILLED, CHANNELS - DISTILLED), dim=1)
            kept.append(distilled)
        kept.append(self.conv4(rest))
        return x + self.conv1x1(torch.cat(kept, dim=1))


class Trunk(nn.Module):
    """The blocks and a convolution, with a skip over all of them."""

    def __init__(self, conv3x3):
        super().__init__()
        blocks = [Block(conv3x3) for _ in range(BLOCKS)]
        self.sub = nn.Sequential(*blocks, nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1))

    def forward(self, x):
        return x + self.sub(x)


class Imdn(nn.Module):
    """N x 3 x H x W in 0..1 to N x 3 x 4H x 4W."""

    def __init__(self, branches=False, fold=False):
        super().__init__()

        def conv3x3(inputs, outputs):
            if branches:
                return Collapsible(inputs, outputs, fold)
            return nn.Conv2d(inputs, outputs, 3, padding=1)

        head = nn.Conv2d(3, CHANNELS, 3, padding=1)
        up = nn.Conv2d(CHANNELS, 3 * SCALE**2, 3, padding=1)
        self.model = nn.Sequential(head, Trunk(conv3x3), up, nn.PixelShuffle(SCALE))

    def forward(self, x):
        return self.model(x)


def read_weights(path):
    """The tensors of a .safetensors or .pth file."""
    if str(path).endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def build(weights=None, branches=False, fold=False):
    """The model with weights from a file, or else with PyTorch's own initial weights after a fixed seed."""
    torch.manual_seed(0)
    model = Imdn(branches, fold)
    if weights:
        # A branch is named beside the activated convolution (`conv1.branch1x1`); here it sits inside it (`conv1.0.branch1x1`).
        tensors = read_weights(weights).items()
        inside = {re.sub(r"(\.conv[123])\.branch1x1\.", r"\1.0.branch1x1.", key): tensor for key, tensor in tensors}
        model.load_state_dict(inside)
    return model

"""The plain 3D U-Net both nets share (torch only)."""

from __future__ import annotations

import torch
from torch import nn

from segmentation.training.contract import NetSpec

__all__ = ["UNet", "build", "segmentation_loss"]


def _block(channels_in: int, channels_out: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels_in, channels_out, 3, padding=dilation, dilation=dilation, bias=False),
        nn.InstanceNorm3d(channels_out, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
    )


class UNet(nn.Module):
    """U-Net with instance normalisation, nearest upsampling and a 1x1x1 head.

    Parameters
    ----------
    channels_in, classes : int
        Input channels and output classes.
    widths : tuple of int
        Feature channels of each level, finest first. Input sides must be multiples of ``2 ** (len(widths) - 1)``.
    """

    def __init__(self, channels_in: int, classes: int, widths: tuple[int, ...] = (12, 24, 48, 96)) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        previous = channels_in
        for level, width in enumerate(widths):
            blocks = [_block(previous, width), _block(width, width)]
            if level == len(widths) - 1:
                blocks.append(_block(width, width, dilation=2))
            self.down.append(nn.Sequential(*blocks))
            previous = width
        self.up = nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.up.append(nn.Sequential(_block(previous + width, width), _block(width, width)))
            previous = width
        self.head = nn.Conv3d(widths[0], classes, 1)
        self.pool = nn.MaxPool3d(2)
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, z, y, x) to logits (n, classes, z, y, x)."""
        skips = []
        x = image
        for level, stage in enumerate(self.down):
            if level:
                x = self.pool(x)
            x = stage(x)
            skips.append(x)
        skips.pop()
        for stage in self.up:
            x = stage(torch.cat([self.grow(x), skips.pop()], dim=1))
        return self.head(x)


def build(spec: NetSpec) -> UNet:
    """Make the untrained net of a specification."""
    return UNet(spec.channels, len(spec.classes))


def segmentation_loss(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted cross entropy plus soft Dice over the foreground classes present in the patch.

    Parameters
    ----------
    logits : Tensor, (1, classes, z, y, x)
        Raw scores; computed in float32 here.
    target : Tensor, int64, (1, z, y, x)
        Class indices.
    weights : Tensor, (classes,)
        Class weights of the cross entropy.
    """
    classes = logits.shape[1]
    flat = logits.float().permute(0, 2, 3, 4, 1).reshape(-1, classes)
    index = target.reshape(-1)
    log_p = torch.log_softmax(flat, dim=1)
    entropy = nn.functional.nll_loss(log_p, index, weight=weights)
    p = log_p.exp()
    truth = nn.functional.one_hot(index, classes).to(p.dtype)
    volume = truth.sum(0)
    dice = (2.0 * (p * truth).sum(0) + 20.0) / (p.sum(0) + volume + 20.0)
    present = volume > 0
    present[0] = False
    if not bool(present.any()):
        return entropy
    return entropy + (1.0 - dice[present]).mean()

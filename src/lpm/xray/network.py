"""The network that reads radiographs: where lung shows, each ray's length in lung, what the picture is."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lpm.records import StrictModel

ANSWERS = 7  # usable, mirrored, inverted, turned by 0, 90, 180, 270 degrees counter-clockwise


class XrayNetworkConfig(StrictModel):
    """A U-net with a flag for the view.

    Args:
        size_px: Side of the square input.
        widths: Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of that.
    """

    size_px: int = 192
    widths: tuple[int, int, int, int, int] = (24, 40, 72, 112, 144)


class _Block(nn.Module):
    """Two convolutions, the second beside a shortcut."""

    def __init__(self, given: int, out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(given, out, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(out)
        self.second = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(x + self.second_norm(self.second(x)))


class XrayNetwork(nn.Module):
    """Pictures and their views to maps and answers; the maps of both views are computed for every picture."""

    def __init__(self, config: XrayNetworkConfig) -> None:
        super().__init__()
        widths = config.widths
        self.down = nn.ModuleList(_Block(given, out) for given, out in zip((8, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(
            _Block(deep + shallow, shallow) for deep, shallow in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        # the field at full resolution (four pixels a channel), the smooth path length at half
        self.fields = nn.Conv2d(widths[0], 4 * 3, 1)
        self.paths = nn.Conv2d(widths[0], 3, 1)
        # by place, for what is left, right or upright
        self.answers = nn.Linear(widths[-1] * (config.size_px // 32) ** 2, ANSWERS)

    def forward(self, pictures: Tensor, lateral: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read pictures.

        Args:
            pictures: (n, 1, s, s), mean 0, spread 1.
            lateral: (n,) 1 for a lateral view, 0 for a frontal one.

        Returns:
            (n, 3, s, s) logits of the field: left, right, lateral; (n, 3, s, s) path lengths in sides of the input:
            left, right, lateral; (n, 7) logits of the answers.
        """
        flag = (2.0 * lateral - 1.0)[:, None, None, None].expand(-1, 1, *pictures.shape[2:])
        x = functional.pixel_unshuffle(torch.cat([pictures, flag], dim=1), 2)
        kept = []
        for index, block in enumerate(self.down):
            x = block(x if index == 0 else functional.max_pool2d(x, 2))
            kept.append(x)
        answers = self.answers(x.flatten(start_dim=1))
        for block, shallow in zip(self.up, kept[-2::-1], strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat([x, shallow], dim=1))
        fields = functional.pixel_shuffle(self.fields(x), 2)
        paths = functional.softplus(self.paths(x) * 4.0) / 4.0
        return fields, functional.interpolate(paths, scale_factor=2.0, mode="bilinear", align_corners=False), answers

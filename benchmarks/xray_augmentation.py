"""What happens to radiographs in training: other framing, other people, other machines, and pictures that are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from lpm.xray.crops import standardised
from xray_data import STORED_PX, Pictures

BOX_MM = 5.0
"""Where a simulated picture's lungs end: less of them along a ray."""


class Batch(NamedTuple):
    """What one step learns from; s is the side of the network's input.

    Args:
        pictures: (n, 1, s, s), mean 0, spread 1.
        lateral: (n,) the view that the network is told.
        fields: (n, 2, s, s) left and right, 0 to 1.
        paths: (n, 2, s, s) left and right, in sides of the input.
        known: (n, 2) whether the fields are known, and the paths.
        usable, mirrored, inverted: (n,) 0 or 1.
        turns: (n,) counter-clockwise quarter turns.
    """

    pictures: Tensor
    lateral: Tensor
    fields: Tensor
    paths: Tensor
    known: Tensor
    usable: Tensor
    mirrored: Tensor
    inverted: Tensor
    turns: Tensor


@dataclass(frozen=True)
class AugmentationConfig:
    """Shares are of pictures; spreads are standard deviations unless a range is named."""

    mirrored: float = 0.12
    turned: float = 0.1
    inverted: float = 0.25
    wrong_view: float = 0.06
    plain: float = 0.4  # of simulated ones: the tone curve as simulated, from which depth can be told
    other_histogram: float = 0.4
    equalised: float = 0.15
    local_contrast: float = 0.15
    blurred: float = 0.3
    noisy: float = 0.4
    collimated: float = 0.3
    marked: float = 0.5
    close_up: float = 0.6  # of real ones: framed about the lungs, as the reader's second look is
    close_up_simulated: float = 0.45
    degrees: float = 5.0
    log_zoom: float = 0.12
    shift: float = 0.05
    real_log_aspect: float = 0.13
    simulated_log_aspect: float = 0.05
    bend: float = 0.02  # of the picture's side, at places a quarter of it apart


class Augmentation:
    """Draws batches of `counts` = (real, simulated frontal, simulated lateral, none of these) pictures."""

    def __init__(self, real: Pictures, simulated: Pictures, config: AugmentationConfig, size_px: int) -> None:
        self.config, self.size_px = config, size_px
        self.real, self.simulated = real, simulated
        self.frontal, self.side = np.nonzero(~simulated.lateral)[0], np.nonzero(simulated.lateral)[0]
        self.histograms = np.stack([np.bincount(i.ravel(), minlength=256).cumsum() for i in real.images]) / STORED_PX**2
        self.boxes = [_boxes(real.fields), _boxes(simulated.paths_mm > BOX_MM)]
        self.stamps = _stamps()

    def batch(self, counts: tuple[int, int, int, int], rng: np.random.Generator) -> Batch:
        """Draw one."""
        n_real, n_frontal, n_lateral, n_none = counts
        chosen = [("real", i) for i in rng.integers(len(self.real), size=n_real)]
        chosen += [("simulated", i) for i in rng.choice(self.frontal, n_frontal)]
        chosen += [("simulated", i) for i in rng.choice(self.side, n_lateral)]
        plain = (rng.random(len(chosen)) < self.config.plain) & (np.arange(len(chosen)) >= n_real)
        drawn = (self._one(source, i, bool(as_is), rng) for (source, i), as_is in zip(chosen, plain, strict=True))
        images, maps, grids, facts = zip(*drawn, strict=True)
        grid = torch.stack(grids) + self._bends(len(chosen), rng)
        source = torch.stack(images)[:, None]
        inside = functional.grid_sample(torch.ones_like(source), grid, align_corners=False)
        pictures = functional.grid_sample(source, grid, align_corners=False, padding_mode="border")
        warped = functional.grid_sample(torch.stack(maps), grid, align_corners=False)
        known, lateral = np.array([fact[0] for fact in facts]), np.array([fact[1] for fact in facts], np.float32)
        mirrored, usable = np.zeros(len(chosen), np.float32), np.ones(len(chosen), np.float32)
        others = torch.stack([self._none(rng) for _ in range(n_none)])[:, None]
        pictures, inside = torch.cat([pictures, others]), torch.cat([inside, torch.ones_like(others)])
        pictures = self._exposed(pictures, inside, np.concatenate([plain, np.zeros(n_none, bool)]), rng)
        for index in np.nonzero(rng.random(n_real + n_frontal + n_lateral) < self.config.mirrored)[0]:
            pictures[index], warped[index] = pictures[index].flip(-1), warped[index].flip(-1)[[1, 0, 3, 2]]
            mirrored[index] = 1.0
        wrong = rng.random(len(chosen)) < self.config.wrong_view
        lateral[wrong], usable[wrong] = 1.0 - lateral[wrong], 0.0
        turns = np.where(rng.random(len(chosen)) < self.config.turned, rng.integers(1, 4, len(chosen)), 0)
        for index in np.nonzero(turns)[0]:
            pictures[index] = torch.rot90(pictures[index], int(turns[index]), dims=(1, 2))
        usable[turns > 0] = 0.0
        known &= usable[:, None] > 0
        nothing = np.zeros(n_none, np.float32)
        inverted = rng.random(len(pictures)) < self.config.inverted
        signs = torch.from_numpy(np.where(inverted, -1.0, 1.0).astype(np.float32))[:, None, None, None]
        tensors = {
            "lateral": np.concatenate([lateral, rng.integers(0, 2, n_none).astype(np.float32)]),
            "known": np.concatenate([known, np.zeros((n_none, 2), bool)]),
            "usable": np.concatenate([usable, nothing]),
            "mirrored": np.concatenate([mirrored, nothing]),
            "inverted": inverted.astype(np.float32),
            "turns": np.concatenate([turns, nothing]).astype(np.int64),
        }
        warped = torch.cat([warped, torch.zeros(n_none, *warped.shape[1:])])
        return Batch(
            pictures=pictures * signs,
            fields=warped[:, :2],
            paths=warped[:, 2:],
            **{name: torch.from_numpy(value) for name, value in tensors.items()},
        )

    def _one(
        self, source: str, index: int, plain: bool, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Any, bool]]:
        """A picture, its maps, the input's pixels in it; which maps are known, whether it is lateral."""
        config, is_real = self.config, source == "real"
        pictures = self.real if is_real else self.simulated
        image = pictures.images[index].astype(np.float32) / 255.0
        if not is_real and not plain and rng.random() < config.other_histogram:
            image = self._other_histogram(pictures.images[index], rng)
        spread = config.real_log_aspect if is_real else config.simulated_log_aspect
        height, width = pictures.sides_mm[index] * np.exp(np.array([0.5, -0.5]) * rng.normal(0.0, spread))
        if is_real:
            height, width = np.array([height, width]) / max(height, width)
        center, extent = np.zeros(2), float(max(height, width))
        if rng.random() < (config.close_up if is_real else config.close_up_simulated):
            top, bottom, left, right = self.boxes[0 if is_real else 1][index]
            center = np.array([left + right, top + bottom]) / 2.0
            extent = 1.3 * max((bottom - top) * height, (right - left) * width) / 2.0
        extent *= float(np.exp(np.clip(rng.normal(0.0, config.log_zoom), -0.35, 0.35)))
        center = center + rng.normal(0.0, config.shift, 2) * 2.0
        angle = np.deg2rad(np.clip(rng.normal(0.0, config.degrees), -15, 15))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * extent
        affine = np.concatenate([turn / np.array([[width], [height]]), center[:, None]], axis=1)
        size = [1, 1, self.size_px, self.size_px]
        grid = functional.affine_grid(torch.from_numpy(affine.astype(np.float32))[None], size, align_corners=False)[0]
        maps = np.concatenate([pictures.fields[index], pictures.paths_mm[index] / extent]).astype(np.float32)
        facts = pictures.known[index], bool(pictures.lateral[index])
        return torch.from_numpy(image), torch.from_numpy(maps), grid, facts

    def _bends(self, n: int, rng: np.random.Generator) -> Tensor:
        coarse = torch.from_numpy(rng.normal(0.0, 2.0 * self.config.bend, (n, 2, 6, 6)).astype(np.float32))
        size = (self.size_px, self.size_px)
        return functional.interpolate(coarse, size=size, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)

    def _other_histogram(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        """The grey values of some real radiograph in the order of this picture's."""
        own = np.bincount(image.ravel(), minlength=256).cumsum() / image.size
        other = np.interp(own, self.histograms[rng.integers(len(self.histograms))], np.arange(256) / 255.0)
        share = rng.uniform(0.3, 1.0)
        table = share * other + (1.0 - share) * np.arange(256) / 255.0
        return table[image].astype(np.float32)

    def _none(self, rng: np.random.Generator) -> Tensor:
        """A picture that is no chest: a shuffled radiograph, clouds, or rods as limbs have them."""
        n, draw = self.size_px, rng.random()
        if draw < 0.3:
            image = _resized(self.real.images[rng.integers(len(self.real))].astype(np.float32) / 255.0, n)
            parts = int(rng.integers(2, 5))
            edge = n // parts
            tiles = [
                image[r * edge : (r + 1) * edge, c * edge : (c + 1) * edge] for r in range(parts) for c in range(parts)
            ]
            order = rng.permutation(len(tiles))
            rows = [torch.cat([tiles[i] for i in order[r * parts : (r + 1) * parts]], dim=1) for r in range(parts)]
            return _resized(torch.cat(rows, dim=0).numpy(), n)
        if draw < 0.6:
            image = sum(
                rng.uniform(0.2, 1.0) * _resized(rng.random((cells, cells)).astype(np.float32), n)
                for cells in (2, 4, 9, 30, n // 2)
            )
            return image / image.max()
        return _rods(n, rng)

    def _exposed(self, pictures: Tensor, inside: Tensor, plain: NDArray[np.bool_], rng: np.random.Generator) -> Tensor:
        """Another machine: tone curve, sharpness, noise, markers, collimation; then as the reader standardises."""
        config, n = self.config, len(pictures)
        low = pictures.amin(dim=(2, 3), keepdim=True)
        pictures = (pictures - low) / (pictures.amax(dim=(2, 3), keepdim=True) - low + 1e-6)
        pictures = pictures ** _column(np.exp(np.where(plain, 0.0, rng.normal(0.0, 0.4, n))))
        tilt = functional.interpolate(_noise((n, 1, 3, 3), 0.12, rng), size=pictures.shape[2:], mode="bilinear")
        pictures = pictures + tilt * _column(~plain)
        for index in range(n):
            one = pictures[index : index + 1]
            draw = rng.random(5)
            draw[:2] += plain[index]  # neither
            if draw[0] < config.equalised:
                one = _equalised(one, rng.uniform(0.4, 1.0))
            if draw[1] < config.local_contrast:
                one = _local_contrast(one, rng.uniform(0.05, 0.15), rng.uniform(0.4, 1.0))
            if draw[2] < config.blurred:
                one = _blurred(one, rng.uniform(0.5, 2.0))
            if draw[3] < config.noisy:
                one = one + _noise(tuple(one.shape), rng.uniform(0.01, 0.06), rng)
            if draw[4] < config.marked:
                one = self._marked(one, rng)
            pictures[index] = one[0]
        light = _column(np.where(rng.random(n) < 0.25, rng.uniform(0.7, 1.0, n), 0.0))
        frame = inside > 0.5
        pictures = torch.where(frame, pictures, light)
        for index in np.nonzero(rng.random(n) < config.collimated)[0]:
            pictures[index] = _collimated(pictures[index], rng)
        return standardised(pictures)

    def _marked(self, picture: Tensor, rng: np.random.Generator) -> Tensor:
        picture = picture.clone()
        for _ in range(int(rng.integers(1, 4))):
            stamp = self.stamps[rng.integers(len(self.stamps))]
            # mostly near a border, as markers are
            row, column = rng.beta(0.5, 0.5, 2) * (self.size_px - np.array(stamp.shape) - 1)
            place = (..., slice(int(row), int(row) + stamp.shape[0]), slice(int(column), int(column) + stamp.shape[1]))
            picture[place] = torch.where(stamp > 0.5, float(rng.choice([0.0, 1.0, 1.0])), picture[place])
        return picture


def _boxes(lungs: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, 4) top, bottom, left, right of the lungs in -1 to 1."""
    boxes = []
    for maps in lungs:
        shown = maps.any(axis=0)
        rows, columns = np.nonzero(shown.any(axis=1))[0], np.nonzero(shown.any(axis=0))[0]
        boxes.append((rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    return np.array(boxes) / STORED_PX * 2.0 - 1.0


def _stamps() -> list[Tensor]:
    """Letters and frames that technicians leave."""
    stamps = []
    for text in ("L", "R", "PA", "AP", "ERECT", "12:34", "R", "L", "SUPINE", "XK 77"):
        for size in (9, 13, 18):
            font = ImageFont.load_default(size)
            left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
            image = Image.new("L", (right - left + 4, bottom - top + 4))
            draw = ImageDraw.Draw(image)
            draw.text((2 - left, 2 - top), text, fill=255, font=font)
            stamps.append(torch.from_numpy(np.asarray(image, np.float32) / 255.0))
            stamps.append(1.0 - stamps[-1])
    return stamps


def _column(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None, None, None]


def _noise(shape: tuple[int, ...], spread: float, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)) * spread


def _resized(image: NDArray[np.float32], size: int) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    return functional.interpolate(tensor, size=(size, size), mode="bilinear", align_corners=False)[0, 0]


def _blurred(picture: Tensor, sigma: float) -> Tensor:
    reach = int(3 * sigma) + 1
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(picture, (reach,) * 4, mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])


def _equalised(picture: Tensor, share: float) -> Tensor:
    values, places = torch.unique((picture * 255).round(), return_inverse=True)
    ranks = torch.bincount(places.ravel(), minlength=len(values)).cumsum(0) / places.numel()
    return share * ranks[places] + (1.0 - share) * picture


def _local_contrast(picture: Tensor, reach: float, share: float) -> Tensor:
    """Each pixel against its surroundings, as CLAHE and the machines' own processing do."""
    size = picture.shape[-1]
    edge = 2 * (int(reach * size) // 2) + 1

    def mean(x: Tensor) -> Tensor:
        padded = functional.pad(x, (edge // 2,) * 4, mode="replicate")
        return functional.avg_pool2d(padded, edge, stride=1)

    average = mean(picture)
    spread = (mean(picture**2) - average**2).clamp_min(1e-4).sqrt()
    return share * (0.5 + 0.2 * (picture - average) / (spread + 0.03)) + (1.0 - share) * picture


def _collimated(picture: Tensor, rng: np.random.Generator) -> Tensor:
    """Bars of one grey along some borders."""
    size, picture = picture.shape[-1], picture.clone()
    grey = float(picture.min()) if rng.random() < 0.7 else float(picture.max())
    for edge in rng.permutation(4)[: int(rng.integers(1, 5))]:
        bar = int(rng.uniform(0.01, 0.09) * size)
        turned = torch.rot90(picture, int(edge), dims=(1, 2))
        turned[:, :bar] = grey
        picture = torch.rot90(turned, -int(edge), dims=(1, 2))
    return picture


def _rods(size: int, rng: np.random.Generator) -> Tensor:
    """Bright rods in grey tissue: somewhat like hands, legs and arms."""
    rows, columns = np.mgrid[:size, :size] / size
    image = np.zeros((size, size))
    tilt = rng.uniform(-0.6, 0.6)
    for _ in range(int(rng.integers(1, 7))):
        slope, middle, width = tilt + rng.normal(0, 0.25), rng.uniform(0.1, 0.9), rng.uniform(0.02, 0.12)
        top, bottom = sorted(rng.uniform(-0.2, 1.2, 2))
        far = np.abs(columns - middle - slope * (rows - 0.5)) + 2.0 * np.maximum(
            0, np.maximum(top - rows, rows - bottom)
        )
        image = np.maximum(image, 0.4 * np.clip((2.2 * width - far) / width, 0, 1) ** 0.5)
        image = np.maximum(image, 0.45 + 0.5 * np.clip(1 - np.abs(far / width - 0.8), 0, 1)) * (far < width) + image * (
            far >= width
        )
    return torch.from_numpy((image + rng.normal(0, 0.02, image.shape)).astype(np.float32))

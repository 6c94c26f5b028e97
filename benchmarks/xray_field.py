"""How well the bundled reader reads radiographs that it was not trained on.

python benchmarks/xray_field.py --data ../shared/data --out runs/xray-field
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lpm.files.atomic import write_text
from lpm.xray.reader import BUNDLED, Reading, XrayReader, load_reader
from xray_data import HOSPITALS, Pictures, load_real, load_simulated

Grey = NDArray[np.float32]


def dice(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    return 2.0 * float((found & true).sum()) / max(1.0, float(found.sum() + true.sum()))


def resized(image: Grey, rows: int, columns: int) -> Grey:
    picture = Image.fromarray(image.astype(np.float32))
    return np.clip(np.asarray(picture.resize((columns, rows), Image.Resampling.BICUBIC)), 0.0, 1.0)


def cropped(image: Grey, fields: NDArray[np.bool_]) -> tuple[Grey, tuple[slice, slice]]:
    """Borders cut to 4 % of the picture beyond the lungs."""
    rows, columns = np.nonzero(fields.any(axis=(0, 2)))[0], np.nonzero(fields.any(axis=(0, 1)))[0]
    spare = round(0.04 * image.shape[0])
    part = tuple(slice(max(0, line[0] - spare), line[-1] + 1 + spare) for line in (rows, columns))
    return image[part], (part[0], part[1])


def variants(image: Grey, fields: NDArray[np.bool_]) -> dict[str, tuple[Grey, NDArray[np.bool_]]]:
    """The same radiograph as other machines and people hand it over, each with its true field."""
    rows, columns = image.shape
    tall = (round(rows * 1.2), columns)
    part, where = cropped(image, fields)
    stretched = np.stack([resized(side.astype(np.float32), *tall) > 0.5 for side in fields])
    return {
        "plain": (image, fields),
        "inverted": (1.0 - image, fields),
        "16 bit": (np.float32(np.round(image * 4095.0) * 16.0 / 65535.0), fields),
        "portrait": (resized(image, *tall), stretched),
        "cropped": (part, fields[:, where[0], where[1]]),
    }


def real_figures(reader: XrayReader, pictures: Pictures) -> list[dict[str, Any]]:
    rows = []
    for name, stored, true in zip(pictures.names, pictures.images, pictures.fields, strict=True):
        row: dict[str, Any] = {"name": name, "hospital": HOSPITALS[name[:6]]}
        for variant, (image, fields) in variants(stored.astype(np.float32) / 255.0, true).items():
            started = time.perf_counter()
            reading = reader.frontal(image)
            seconds = time.perf_counter() - started
            found = reading.field > 0.5
            row[variant] = dice(found.any(axis=0), fields.any(axis=0))
            if variant == "plain":
                row |= {"left": dice(found[0], fields[0]), "right": dice(found[1], fields[1])}
                row |= {"seconds": seconds, "doubts": list(reading.doubts), "chest": reading.answers.chest}
        rows.append(row)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    plain = np.array([row["plain"] for row in rows])
    told: dict[str, Any] = {
        "images": len(rows),
        "mean Dice": plain.mean(),
        "median Dice": np.median(plain),
        "left": np.mean([row["left"] for row in rows]),
        "right": np.mean([row["right"] for row in rows]),
        "share >= 0.90": (plain >= 0.9).mean(),
        "share with doubts": np.mean([bool(row["doubts"]) for row in rows]),
        "median seconds": np.median([row["seconds"] for row in rows]),
    }
    for variant in ("inverted", "16 bit", "portrait", "cropped"):
        told[f"{variant}, difference of mean"] = np.mean([row[variant] for row in rows]) - plain.mean()
    return {name: round(float(value), 4) for name, value in told.items()}


def refusals(reader: XrayReader, pictures: Pictures, simulated: Pictures) -> dict[str, dict[str, float]]:
    """Share of pictures that earn a doubt about what they are, and the mean score."""
    chests = [image.astype(np.float32) / 255.0 for image in pictures.images]
    others = [image.astype(np.float32) / 255.0 for image in simulated.of_view(lateral=True).images]
    cases = {
        "upright": chests,
        "turned by 90": [np.rot90(image) for image in chests],
        "turned by 180": [np.rot90(image, 2) for image in chests],
        "turned by 270": [np.rot90(image, 3) for image in chests],
        "mirrored": [image[:, ::-1] for image in chests],
        "lateral as frontal": others,
    } | {name: [image] for name, image in photographs().items()}
    table = {}
    for name, images in cases.items():
        readings = [reader.frontal(np.ascontiguousarray(image)) for image in images]
        table[name] = {
            "score": float(np.mean([reading.answers.chest for reading in readings])),
            "mirrored": float(np.mean([reading.answers.mirrored for reading in readings])),
            "with doubts": float(np.mean([bool(reading.doubts) for reading in readings])),
        }
    return table


def photographs() -> dict[str, Grey]:
    """Pictures that are no radiographs, as scikit-image ships them."""
    from skimage import color, data

    names = ("camera", "astronaut", "coffee", "coins", "brick", "page", "moon", "text", "chelsea", "rocket", "cell")
    found = {}
    for name in names:
        try:
            image = getattr(data, name)()
        except Exception as error:  # some are fetched, which may fail without a network
            print(f"no picture {name}: {error}")
            continue
        grey = color.rgb2gray(image) if image.ndim == 3 else image / 255.0
        found[f"photograph {name}"] = grey.astype(np.float32)
    return found


def path_figures(reader: XrayReader, pictures: Pictures) -> list[dict[str, Any]]:
    """Errors of path length and volume; of the volume also per lung, of frontal pictures."""
    rows = []
    for index, name in enumerate(pictures.names):
        sides, lateral = pictures.sides_mm[index], bool(pictures.lateral[index])
        image = pictures.images[index] / 255.0
        spacing = (float(sides[0]) / image.shape[0], float(sides[1]) / image.shape[1])
        started = time.perf_counter()
        reading = (reader.lateral if lateral else reader.frontal)(image, spacing)
        seconds = time.perf_counter() - started
        paths = pictures.paths_mm[index].astype(np.float32)
        true = paths.sum(axis=0, keepdims=True) if lateral else paths
        error = (reading.path_length - true)[true > 5.0]
        volumes = np.array([reading.path_length.sum(axis=(1, 2)), true.sum(axis=(1, 2))]) * np.prod(spacing) / 1000.0
        rows.append(
            {
                "name": name,
                "view": "lateral" if lateral else "frontal",
                "path error mm": float(np.abs(error).mean()),
                "path mean mm": float(true[true > 5.0].mean()),
                "volume ml": volumes[1].tolist(),
                "volume found ml": volumes[0].tolist(),
                "volume error": float(volumes[0].sum() / volumes[1].sum() - 1.0),
                "volume error each": (volumes[0] / volumes[1] - 1.0).tolist(),
                "outline Dice": dice(reading.path_length.sum(axis=0) > 10.0, true.sum(axis=0) > 10.0),
                "within 2 sd": float((np.abs(error) < 2.0 * reading.path_sd[true > 5.0]).mean()),
                "doubts": list(reading.doubts),
                "seconds": seconds,
            }
        )
    return rows


def draw_fields(reader: XrayReader, pictures: Pictures, names: list[str], out: Path) -> None:
    """Pictures with the found (colours) and the true field (white)."""
    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 4.6))
    for axis, name in zip(axes.flat, names, strict=True):
        index = pictures.names.index(name)
        image, true = pictures.images[index] / 255.0, pictures.fields[index]
        found = reader.frontal(image).field
        axis.imshow(image, cmap="gray")
        for side, colour in ((0, "tab:red"), (1, "tab:cyan")):
            axis.contour(true[side], [0.5], colors="w", linewidths=0.8)
            axis.contour(found[side], [0.5], colors=colour, linewidths=1.2)
        axis.set_title(f"{name}\n{dice((found > 0.5).any(axis=0), true.any(axis=0)):.3f}", fontsize=9)
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(out, dpi=70)
    plt.close(figure)


def draw_paths(reader: XrayReader, pictures: Pictures, out: Path) -> None:
    """Each picture with its fields, the path length found, the true one."""
    figure, axes = plt.subplots(3, len(pictures), figsize=(3 * len(pictures), 9))
    for column, name in enumerate(pictures.names):
        sides, image = pictures.sides_mm[column], pictures.images[column] / 255.0
        lateral = bool(pictures.lateral[column])
        spacing = (float(sides[0]) / image.shape[0], float(sides[1]) / image.shape[1])
        reading: Reading = (reader.lateral if lateral else reader.frontal)(image, spacing)
        axes[0, column].imshow(image, cmap="gray")
        for side in reading.field:
            axes[0, column].contour(side, [0.5], colors="tab:red", linewidths=1.0)
        high = 280.0 if lateral else 200.0
        axes[1, column].imshow(reading.path_length.sum(axis=0), vmax=high)
        axes[2, column].imshow(pictures.paths_mm[column].astype(np.float32).sum(axis=0), vmax=high)
        axes[0, column].set_title(name, fontsize=9)
    for axis in axes.flat:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(out, dpi=50)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    reader = load_reader(given.model)
    manifest = reader.bundle.manifest
    real = load_real(given.data / "xrays").only(set(manifest.test_names))
    subjects = set(json.loads((given.data / "lungs/split.json").read_text())["test"])
    simulated = load_simulated(given.data / "lungs").only(subjects)
    if set(real.names) & set(manifest.training_names) or subjects & set(manifest.training_names):
        raise SystemExit("the reader was trained on what it would be tested on")
    rows, paths = real_figures(reader, real), path_figures(reader, simulated)
    hospitals = {name: [row for row in rows if row["hospital"] == name] for name in HOSPITALS.values()}
    report = {
        "real": {"both": summary(rows)} | {name: summary(ours) for name, ours in hospitals.items()},
        "what it is": refusals(reader, real, simulated),
        "paths": paths,
        "each": rows,
    }
    write_text(given.out / "xray_field.json", json.dumps(report, indent=1))
    worst = [row["name"] for row in sorted(rows, key=lambda row: row["plain"])[:5]]
    draw_fields(reader, real, worst, given.out / "worst.png")
    for view in ("frontal", "lateral"):
        draw_paths(reader, simulated.of_view(lateral=view == "lateral"), given.out / f"paths_{view}.png")
    print(json.dumps({name: report[name] for name in ("real", "what it is")}, indent=1))
    print("worst:", {row["name"]: round(row["plain"], 3) for row in rows if row["name"] in worst})
    for row in paths:
        each = " ".join(f"{error:+.1%}" for error in row["volume error each"])
        path = f"path {row['path error mm']:.1f} of {row['path mean mm']:.0f} mm"
        told = f"volume {row['volume error']:+.1%} ({each}), {path}, outline Dice {row['outline Dice']:.3f}"
        print(f"{row['name']} {row['view']}: {told}", *row["doubts"])
    for view in ("frontal", "lateral"):
        errors = [abs(row["volume error"]) for row in paths if row["view"] == view]
        print(f"{view}: volume error {np.mean(errors):.1%}, largest {max(errors):.1%}")


if __name__ == "__main__":
    main()

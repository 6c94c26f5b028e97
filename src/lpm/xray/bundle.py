"""The network that reads radiographs on disk: `weights.safetensors` (half precision) and `bundle.json`. No pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from lpm.errors import FileError, SchemaError
from lpm.files.atomic import write_text
from lpm.model.tensors import read_tensors, write_tensors
from lpm.records import StrictModel, read_json_model
from lpm.xray.network import XrayNetwork, XrayNetworkConfig

XRAY_SCHEMA = 1  # of bundle.json: raised when older programs cannot read it
_MAX_BYTES = 16_000_000  # six times the bundled weights: more is no reader


class PathErrors(StrictModel):
    """Errors of path lengths on radiographs of people the network had not seen.

    Args:
        lengths: Path lengths found, rising, in sides of the picture.
        sds: Standard deviation at pixels where about that was found; between them it is interpolated.
        volume: Relative standard deviation of the sum over the picture, all maps together.
    """

    lengths: tuple[float, ...]
    sds: tuple[float, ...]
    volume: float


class XrayManifest(StrictModel):
    """`bundle.json`.

    Args:
        typical: Mean of each figure of `lpm.xray.novelty` over training radiographs, by name.
        spread: Its standard deviation.
        training_names: Radiographs and subjects that the network learned from.
        test_names: Real radiographs kept aside.
    """

    schema_version: int
    network: XrayNetworkConfig
    frontal_errors: PathErrors
    lateral_errors: PathErrors
    typical: dict[str, float]
    spread: dict[str, float]
    training_names: tuple[str, ...]
    test_names: tuple[str, ...]
    loss_history: tuple[dict[str, float], ...]
    data: str
    versions: dict[str, str]


@dataclass(frozen=True)
class XrayBundle:
    """A trained network and what is known of it."""

    manifest: XrayManifest
    network: XrayNetwork


def write_xray_bundle(bundle: XrayBundle, folder: Path) -> None:
    """Write both files; weights in half precision, which changes the maps by less than 0.001."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.half()
        for name, value in bundle.network.state_dict().items()
        if value.dtype.is_floating_point  # not the count of batches seen
    }
    write_tensors(folder / "weights.safetensors", tensors, {"schema_version": str(XRAY_SCHEMA)})
    write_text(folder / "bundle.json", bundle.manifest.model_dump_json(indent=1) + "\n")


def read_xray_bundle(folder: Path) -> XrayBundle:
    """Read the manifest and the weights of a reader.

    Raises:
        FileError: Missing or damaged files, or numbers that are not finite.
        SchemaError: Of another version, or weights that are not of the network the manifest names.
    """
    manifest = read_json_model(folder / "bundle.json", XrayManifest)
    if manifest.schema_version != XRAY_SCHEMA:
        given = f"schema version {manifest.schema_version}"
        raise SchemaError(str(folder / "bundle.json"), given, f"{XRAY_SCHEMA}", "a newer or older release of lpm")
    weights = folder / "weights.safetensors"
    if weights.is_file() and weights.stat().st_size > _MAX_BYTES:
        given = f"{weights.stat().st_size / 1e6:.0f} MB"
        raise FileError(str(weights), given, f"at most {_MAX_BYTES / 1e6:.0f} MB", "the bundle that lpm ships")
    tensors, _ = read_tensors(weights)
    network = XrayNetwork(manifest.network)
    expected = {name: value.shape for name, value in network.state_dict().items() if value.dtype.is_floating_point}
    if {name: value.shape for name, value in tensors.items()} != expected:
        raise SchemaError(
            str(weights), "other tensors than the manifest's network has", "weights and manifest of a pair"
        )
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise FileError(str(weights), "numbers that are not finite", "an intact file", "write it again")
    network.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=False)
    return XrayBundle(manifest, network.eval().requires_grad_(requires_grad=False))

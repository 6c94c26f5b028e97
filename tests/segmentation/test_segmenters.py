"""The networks of others, run for real where their packages are installed, with weights that read densities.

Their trained weights are fetched from the internet, so none are here. Instead the packages' own networks get weights
made by hand, with which a voxel's class depends on its density alone: in the painted scan each lung has its own. What
is tested is all but the training: the call, the axes, the sides, the grid, and what a user reads where weights lack.
"""

from __future__ import annotations

import json
from functools import partial
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lpm.errors import FileError, InputError, MissingExtraError
from lpm.geometry.phantoms import PhantomLungs, stored_as, to_labels
from lpm.geometry.volumes import Volume, canonical
from lpm.segmentation.hounsfield import Scan
from lpm.segmentation.segmenters import LungmaskSegmenter, TotalSegmentatorSegmenter

RIGHT_HU, TISSUE_HU, LEFT_HU = -800.0, 40.0, 500.0  # tissue between them: no edge of one lung looks like the other
NOWHERE = "http://127.0.0.1:9"  # a proxy that nothing listens at: no test reaches the internet
ORIENTATIONS = list(product(permutations(range(3)), product((False, True), repeat=3)))


@pytest.fixture(scope="module")
def painted() -> tuple[Volume, Volume]:
    """A scan whose lungs and tissue have one density each, on a grid without symmetry, and the true labels."""
    labels = to_labels(PhantomLungs(center_mm=(7.0, -20.0, 35.0)), (5.0, 6.0, 7.0), margin_mm=36.0)
    hu = np.select([labels.voxels == 1, labels.voxels == 2], [LEFT_HU, RIGHT_HU], TISSUE_HU).astype(np.float32)
    return labels.with_voxels(hu), labels


def dice(found: Volume, true: Volume) -> float:
    pairs = [(found.voxels == side, true.voxels == side) for side in (1, 2)]
    return min(2.0 * float((a & b).sum()) / float(a.sum() + b.sum()) for a, b in pairs)


def silence(network: torch.nn.Module) -> None:
    """All convolutions give zero, and normalisations stay as they are."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Conv3d | torch.nn.ConvTranspose3d):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)


def nearest(logits: torch.nn.Module, seen: dict[int, float]) -> None:
    """A last layer whose class is the one whose value of the first channel is nearest: a x - a^2 / 2 is largest."""
    torch.nn.init.constant_(logits.bias, -100.0)
    for number, value in seen.items():
        logits.weight.data[number, 0], logits.bias.data[number] = 20.0 * value, -10.0 * value**2


def set_lungmask_weights(network: Any) -> None:
    """The first channel carries the density from the input to the last layer."""
    silence(network)
    first, last = network.down_path[0].block, network.up_path[-1].conv_block.block
    for convolution, channel in ((first[0], 0), (first[3], 0), (last[0], network.last.in_channels), (last[3], 0)):
        convolution.weight.data[0, channel, 1, 1] = 1.0
    nearest(network.last, {c: (hu + 1024.0) / 1624.0 for c, hu in enumerate((TISSUE_HU, RIGHT_HU, LEFT_HU))})


@pytest.fixture
def lungmask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with no weights in its cache."""
    module = pytest.importorskip("lungmask.mask", reason="the extra lungmask is not installed")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return module


@pytest.fixture
def lungmask_weights(lungmask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's cache holds weights that read densities; its network has a sixteenth of its channels."""
    narrow = partial(lungmask.UNet, wf=2)
    monkeypatch.setattr(lungmask, "UNet", narrow)
    network = narrow(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)
    set_lungmask_weights(network)
    path = tmp_path / "hub" / "checkpoints" / Path(lungmask.MODEL_URLS["R231"][0]).name
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.usefixtures("lungmask_weights")
@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS[::7])
def test_lungmask_finds_each_side_however_the_scan_is_stored(
    painted: tuple[Volume, Volume], order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    stored, true = (stored_as(volume, order, flips) for volume in painted)
    found = LungmaskSegmenter().segment(Scan(stored, 0.0), "painted")
    np.testing.assert_array_equal(found.world_from_voxel, canonical(stored).world_from_voxel)
    assert dice(found, canonical(true)) > 0.95


@pytest.mark.usefixtures("lungmask_weights")
def test_lungmask_that_finds_nothing_is_refused(painted: tuple[Volume, Volume]) -> None:
    empty = painted[0].with_voxels(np.full(painted[0].voxels.shape, TISSUE_HU, dtype=np.float32))
    with pytest.raises(InputError, match=r"painted: lungmask .* R231 found no lung"):
        LungmaskSegmenter().segment(Scan(empty, 0.0), "painted")


def test_lungmask_without_weights_or_internet_says_what_to_do(
    lungmask: Any, painted: tuple[Volume, Volume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", NOWHERE)
    with pytest.raises(FileError, match=r"lungmask has no weights .*refused.*first use.*put .*pth into .*thresholds"):
        LungmaskSegmenter().segment(Scan(painted[0], 0.0), "painted")
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("kept", [0, 1000])
def test_lungmask_with_damaged_weights_says_what_to_do(
    lungmask_weights: Path, painted: tuple[Volume, Volume], kept: int
) -> None:
    lungmask_weights.write_bytes(lungmask_weights.read_bytes()[:kept])
    with pytest.raises(FileError, match=r"lungmask has no weights .*in place of any that is there"):
        LungmaskSegmenter().segment(Scan(painted[0], 0.0), "painted")


NNUNET = {
    "n_stages": 2,
    "features_per_stage": [2, 2],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [2, 2, 2]],
    "n_conv_per_stage": [1, 1],
    "n_conv_per_stage_decoder": [1],
    "conv_bias": True,
    "norm_op": None,
    "norm_op_kwargs": {},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.ReLU",
    "nonlin_kwargs": {},
}
NEEDS_IMPORT = ["conv_op", "norm_op", "dropout_op", "nonlin"]


def nnunet_plans(spacing_mm: float) -> dict[str, Any]:
    """Plans in nnU-Net's format: a network of two stages and two channels that sees (HU + 1000) / 1000."""
    shape = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [64, 64, 64],
        "median_image_size_in_voxels": [64.0, 64.0, 64.0],
        "spacing": [spacing_mm] * 3,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": shape,
        "resampling_fn_seg_kwargs": shape | {"is_seg": True},
        "resampling_fn_probabilities_kwargs": shape,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": NNUNET,
            "_kw_requires_import": NEEDS_IMPORT,
        },
        "batch_dice": True,
    }
    density = {"mean": -1000.0, "std": 1000.0, "percentile_00_5": -1000.0, "percentile_99_5": 1000.0}
    return {
        "dataset_name": "painted",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [spacing_mm] * 3,
        "original_median_shape_after_transp": [64, 64, 64],
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": density},
    }


def nnunet_network(class_of_hu: dict[int, float], n_classes: int) -> torch.nn.Module:
    """The first channel carries the density from the input to the last layer."""
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    imported = NNUNET | {"conv_op": torch.nn.Conv3d, "nonlin": torch.nn.ReLU}
    network: torch.nn.Module = unet.PlainConvUNet(input_channels=1, num_classes=n_classes, **imported)
    silence(network)
    network.encoder.stages[0][0].convs[0].conv.weight.data[0, 0, 1, 1, 1] = 1.0
    network.decoder.stages[0].convs[0].conv.weight.data[0, 2, 1, 1, 1] = 1.0
    nearest(network.decoder.seg_layers[-1], {c: (hu + 1000.0) / 1000.0 for c, hu in class_of_hu.items()})
    return network


@pytest.fixture
def totalsegmentator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with no weights in its folder, and its statistics kept at home."""
    module = pytest.importorskip(
        "totalsegmentator.map_tasks_config", reason="the extra totalsegmentator is not installed"
    )
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path))
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    settings = {"totalseg_id": "", "send_usage_stats": False, "prediction_counter": 0}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    return module


@pytest.fixture
def totalsegmentator_weights(totalsegmentator: Any, tmp_path: Path) -> Path:
    from totalsegmentator.map_to_binary import class_map

    classes = {name: number for number, name in class_map["total"].items()}
    left, right = (classes[f"lung_{lobe}"] for lobe in ("upper_lobe_left", "lower_lobe_right"))
    class_of_hu = {0: TISSUE_HU, left: LEFT_HU, right: RIGHT_HU}
    network = nnunet_network(class_of_hu, len(classes) + 1)
    trainer = "nnUNetTrainer_4000epochs_NoMirroring"
    for task, spacing_mm in ((297, 3.0), (298, 6.0)):
        folder = tmp_path / "nnunet" / "results" / totalsegmentator.TASK_ID_WEIGHTS_CONFIGS[task]["foldername"]
        model = folder / f"{trainer}__nnUNetPlans__3d_fullres"
        (model / "fold_0").mkdir(parents=True)
        (model / "plans.json").write_text(json.dumps(nnunet_plans(spacing_mm)))
        labels = {"background": 0} | classes
        (model / "dataset.json").write_text(
            json.dumps({"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"})
        )
        checkpoint = {
            "network_weights": network.state_dict(),
            "trainer_name": trainer,
            "init_args": {"configuration": "3d_fullres"},
            "inference_allowed_mirroring_axes": None,
        }
        torch.save(checkpoint, model / "fold_0" / "checkpoint_final.pth")
    return folder.parent


@pytest.mark.usefixtures("totalsegmentator_weights")
@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS[13:48:22])
def test_totalsegmentator_finds_each_side_however_the_scan_is_stored(
    painted: tuple[Volume, Volume], order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    stored, true = (stored_as(volume, order, flips) for volume in painted)
    found = TotalSegmentatorSegmenter().segment(Scan(stored, 0.0), "painted")
    np.testing.assert_array_equal(found.world_from_voxel, canonical(stored).world_from_voxel)
    assert dice(found, canonical(true)) > 0.9


def test_totalsegmentator_without_weights_or_internet_says_what_to_do(
    totalsegmentator: Any, painted: tuple[Volume, Volume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", NOWHERE)
    with pytest.raises(FileError, match=r"TotalSegmentator has no weights .*first use.*nnunet/results.*thresholds"):
        TotalSegmentatorSegmenter().segment(Scan(painted[0], 0.0), "painted")
    assert not any(path.is_file() for path in (tmp_path / "nnunet").rglob("*"))


def test_totalsegmentator_with_half_its_weights_says_what_to_do(
    totalsegmentator_weights: Path, painted: tuple[Volume, Volume]
) -> None:
    for plans in totalsegmentator_weights.rglob("plans.json"):
        plans.unlink()
    with pytest.raises(FileError, match=r"TotalSegmentator has no weights .*in place of any that are incomplete"):
        TotalSegmentatorSegmenter().segment(Scan(painted[0], 0.0), "painted")


@pytest.mark.usefixtures("totalsegmentator")
@pytest.mark.parametrize(
    ("message", "error"),
    [("operator torchvision::nms does not exist", MissingExtraError), ("out of memory", RuntimeError)],
)
def test_a_torchvision_of_another_build_is_named(
    painted: tuple[Volume, Volume], monkeypatch: pytest.MonkeyPatch, message: str, error: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr("totalsegmentator.python_api.totalsegmentator", fail)
    with pytest.raises(error, match=message):
        TotalSegmentatorSegmenter().segment(Scan(painted[0], 0.0), "painted")

"""The rows of docs/field-inputs.md: what people met, what came of it before, and what is right of each input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["labels", "ct", "hu", "points", "fit points", "meshes", "radiograph"]


@dataclass(frozen=True)
class Right:
    """What is right of an input; of several, one must hold.

    Args:
        ml: Volumes of the left and the right lung, within 4 %; 0 for a lung that is not there.
        truth: Label map, voxel by voxel, that lungs of a CT agree with.
        dice: Dice that each lung in view must have.
        same: Whether points, or HU, are those of the reference.
        refused: Pattern of a refusal.
        told: Pattern of a note; ^$ for none.
    """

    ml: tuple[float, float] | None = None
    truth: str = ""
    dice: float = 0.95
    same: bool = False
    refused: str = ""
    told: str = ""


@dataclass(frozen=True)
class Input:
    """An input.

    Args:
        path: In the folder of cases.
        kind: How it is read.
        right: What is right of it.
        labels: `--labels`.
    """

    path: str
    kind: Kind
    right: tuple[Right, ...]
    labels: str = ""


@dataclass(frozen=True)
class Row:
    """A kind of trouble.

    Args:
        people: What people met.
        before: What this project did at first.
        inputs: Inputs that stand for it.
    """

    people: str
    before: str
    inputs: list[Input] = field(default_factory=list)


BOTH = (1738.0, 1954.0)
SCALES = {f"15/scale_{percent}.nii.gz": percent / 100 for percent in (90, 80, 75, 70, 65, 50)}
SCALES |= {"07/child_06.nii.gz": 0.6, "07/infant_04.nii.gz": 0.4, "07/newborn_033.nii.gz": 0.33}
CROPS = {
    **{f"16/margin_{mm:02d}": f"lungs' box + {mm} mm" for mm in (0, 8, 12, 16, 25)},
    "07/fov_box_of_lungs": "lungs' box + 3 mm",
    "07/fov_cuts_lungs_sides": "sides cut",
    "07/left_lung_only_fov": "left lung only",
    "07/cardiac_fov": "heart only",
    "07/slab_apex": "slab of the apices",
    "07/slab_middle": "slab of the middle",
    "07/slab_base_abdomen": "slab of the bases",
}


def labels(path: str, *right: Right, said: str = "") -> Input:
    return Input(path, "labels", right, said)


def ml(left: float, right: float, told: str = "") -> Right:
    return Right(ml=(left, right), told=told)


def refused(pattern: str) -> Right:
    return Right(refused=pattern)


def told(pattern: str) -> Right:
    return Right(told=pattern)


def ct(path: str, *right: Right) -> Input:
    return Input(path, "ct", right)


def hu(path: str, *right: Right) -> Input:
    return Input(f"09/{path}", "hu", right or (Right(same=True),))


def points(path: str, *right: Right) -> Input:
    return Input(f"08/{path}", "points", right or (Right(same=True),))


def meshes(path: str, *right: Right) -> Input:
    return Input(path, "meshes", right)


def radiograph(path: str, *right: Right) -> Input:
    return Input(f"11/{path}", "radiograph", right)


def _scaled(path: str, by: float) -> Input:
    truth = "00/labels.nii.gz" if path.startswith("15") else "07/truth_labels.nii.gz"
    return ct(path, Right(truth=truth, told="" if by > 0.65 else "slim adult's size"))


def _mesh_folder(name: str, *right: Right) -> Input:
    return meshes(f"10/{name}", *(right or (ml(1710, 1930),)))


ROWS: dict[int, Row] = {
    1: Row(
        "lungmask's values: 1 = right, 2 = left",
        "one lung: left lung invented, silent",
        [
            labels("01/both.nii.gz", refused("exchanged|other side|lungmask")),
            labels("01/both.nii.gz", ml(*BOTH), said="lungmask"),
            labels("01/right_only_is_1.nii.gz", refused("right lung|lungmask")),
            labels("01/right_only_is_1.nii.gz", ml(0, 1954), said="lungmask"),
            labels("01/left_only_is_2.nii.gz", refused("left lung|lungmask")),
        ],
    ),
    2: Row(
        "one label holds both lungs, which touch",
        "one left lung of 3.6 l, silent",
        [labels(f"02/{name}.nii.gz", ml(*BOTH)) for name in ("touching_1", "touching_255", "apart_1")],
    ),
    3: Row(
        "TotalSegmentator: lobes among other organs, one file an organ",
        "refused, hint in circles",
        [
            *(labels(f"03/{name}.nii.gz", ml(*BOTH)) for name in ("v2_multilabel", "v1_multilabel", "v2_lobes_only")),
            labels(
                "03/v2_multilabel.nii.gz",
                ml(*BOTH, "ignored|left out|other"),
                said="left_lung=10+11,right_lung=12+13+14",
            ),
            labels("03/s0011", ml(*BOTH)),
        ],
    ),
    4: Row(
        "sform and qform differ, or there is neither",
        "qform, or LPS, silent",
        [
            labels("04/sform2_qform1_differ.nii.gz", ml(*BOTH, "sform|qform")),
            labels("04/sform1_qform1_differ.nii.gz", ml(*BOTH, "sform|qform")),
            labels("04/no_form.nii.gz", ml(*BOTH, "header|geometry|form"), refused("header|form")),
        ],
    ),
    5: Row(
        "axes that are not at right angles",
        "shear dropped, 116 mm off, silent",
        [
            labels("04/sheared_sform_only.nii.gz", refused("right angles")),
            labels("04/sheared_sform_good_qform.nii.gz", refused("right angles")),
            labels(
                "04/sform_unit_rows_pixdim_mm.nii.gz", ml(*BOTH), Right(told="sform|pixdim"), refused("unit|mm|sform")
            ),
        ],
    ),
    6: Row(
        "metres, microns",
        "59 GiB, traceback, batch lost",
        [
            labels("04/units_meter.nii.gz", ml(*BOTH)),
            labels("04/units_micron.nii.gz", ml(*BOTH)),
            labels("04/units_meter_said_mm.nii.gz", refused("metres")),
            labels("04/units_micron_said_mm.nii.gz", refused("micro")),
            labels("05/um.nrrd", refused("micro|mm")),
            labels("05/cm.nrrd", refused("cm|centi")),
        ],
    ),
    7: Row(
        "labels of 1.0000153 after scaling or resampling",
        "'give the mask, not the scan'",
        [
            labels(f"04/{name}.nii.gz", ml(*BOTH))
            for name in ("scaled_int16", "near_whole", "slope_2_over_255", "background_minus1", "float64", "int64")
        ]
        + [labels("04/background_nan.nii.gz", ml(*BOTH), refused("NaN"))],
    ),
    8: Row(
        "Slicer's .seg.nrrd with overlapping segments",
        "'not a colour or vector image'",
        [labels("05/overlap_4d.seg.nrrd", ml(*BOTH))],
    ),
    9: Row(
        "segments right = 1, left = 2, airways = 3",
        "'[3] belong to no structure'",
        [labels(f"05/{name}.seg.nrrd", ml(*BOTH)) for name in ("lungs_right1_left2", "lungs_airways")],
    ),
    10: Row(
        "a small or cropped field of view",
        "Dice 0.49/0.71, silent",
        [
            ct(
                f"{path}.nii.gz",
                Right(truth=f"{path}_truth.nii.gz", told="" if "slab" in path or "25" in path else "cut sideways"),
            )
            for path in CROPS
        ],
    ),
    11: Row("children and small adults", "lung lost below 0.7, silent", [_scaled(*each) for each in SCALES.items()]),
    12: Row(
        "padding 63536, a bright circle",
        "right",
        [
            hu("padding_63536_unsigned"),
            ct("07/padding_bright.nii.gz", Right(truth="07/truth_labels.nii.gz")),
        ],
    ),
    13: Row(
        "stored values, uint16, 0..255, windows, NaN",
        "refused; two vague hints",
        [
            ct("07/stored_0_4095.nii.gz", refused("intercept")),
            ct("07/wrapped_uint16.nii.gz", refused("uint16")),
            ct("07/intercept_twice.nii.gz", refused("subtracted twice")),
            ct("07/scaled_0_255.nii.gz", refused("scaled picture")),
            ct("07/scaled_pm1.nii.gz", refused("scaled picture")),
            ct("07/windowed_soft.nii.gz", refused("no air|Hounsfield")),
            ct("07/negated.nii.gz", refused("Hounsfield")),
            ct("07/wrong_slope2.nii.gz", refused("Hounsfield")),
            ct("07/nan_padding.nii.gz", Right(truth="07/truth_labels.nii.gz")),
            hu("intercept_plus", refused("wrong sign")),
            hu("eight_bit_export", refused("scaled picture")),
        ],
    ),
    14: Row(
        "header without geometry, mirrored, turned",
        "sides exchanged, silent",
        [
            ct("07/identity_affine.nii.gz", told("geometry|identity"), refused("geometry|identity")),
            ct("07/diag_spacing_no_direction.nii.gz", told("heart seems to lie on the right")),
            ct("07/mirrored_lr.nii.gz", told("heart seems to lie on the right")),
            ct("07/axes_swapped_yz.nii.gz", refused("spine goes on along")),
            ct("07/upside_down.nii.gz", told("upside down|apices")),
            ct("07/rotated_180_about_z.nii.gz", told("spine seems to lie in front")),
        ],
    ),
    15: Row(
        "two slice distances in one series",
        "'33 slices missing'",
        [hu("mixed_spacing", Right(same=True, told="distance|interpolated"))],
    ),
    16: Row(
        "rounded positions, jitter, overlap",
        "right",
        [hu(name) for name in ("rounded_positions", "jitter", "overlap_half_step")],
    ),
    17: Row("no DICM preamble", "'none of them DICOM'", [hu("no_preamble")]),
    18: Row("Enhanced multi-frame CT", "refused", [hu("enhanced")]),
    19: Row(
        "4D, two kernels in one series",
        "refused, no way on",
        [
            hu("fourD_one_series", refused("--series")),
            hu("two_kernels_one_series", told("kernel"), refused("--series")),
        ],
    ),
    20: Row("a series UID for each slice", "refused, no way on", [hu("uid_per_slice")]),
    21: Row(
        "deflated, big endian, implicit, slope a slice, copies",
        "right",
        [
            hu(name)
            for name in (
                "deflated",
                "big_endian",
                "implicit",
                "slope_per_slice",
                "no_rescale_stored_hu",
                "copies",
                "with_company",
                "one_sop_uid",
            )
        ],
    ),
    22: Row("feet first, prone", "right", [hu(name) for name in ("ffs", "prone")]),
    23: Row(
        "decimal commas",
        "read as other points, silent",
        [
            points(name, Right(same=True), refused("decimal comma"))
            for name in (
                *("decimal_comma_1digit.xyz", "decimal_comma_2digit.txt", "decimal_comma_header.csv"),
                *("decimal_comma_noheader.csv", "decimal_comma_semicolon.csv", "decimal_comma_semicolon.xyz"),
                "decimal_comma_space.xyz",
            )
        ],
    ),
    24: Row(
        "arrays of (3, n), (n, 4), (n, 6)",
        "a hint that scrambles",
        [
            points("transposed.npy", refused(r"points\.T")),
            points("homogeneous.npy", refused(":3")),
            points("with_normals6.npy", refused(":3")),
            points("batch.npy", refused(r"\[0\]|shape"), Right(same=True)),
        ],
    ),
    25: Row(
        "ParaView, Slicer, pandas, voxel indices, y up",
        "12 l of voxel indices, silent",
        [
            points("paraview_plain.csv"),
            points("slicer.fcsv"),
            points("cloud.pcd"),
            points("cloud.vtk"),
            points("pandas_index.csv"),
            points("count_first.xyz", Right(same=True), refused("three numbers")),
            Input("08/zero_padded.npy", "fit points", (Right(ml=(1740, 1954), told="counted once"),)),
            Input("08/far_outlier.npy", "fit points", (refused("far from all others|extend"),)),
            Input("08/voxel_index.npy", "fit points", (told("voxel indices"), refused("voxel|unit"))),
            Input("08/inside_voxels_mm.npy", "fit points", (told("unlike|contradict"), refused("inside"))),
            Input("08/y_up.npy", "fit points", (told("turned|axes|unlike"),)),
        ],
    ),
    26: Row(
        "meshes whose vertices are split, units, marks",
        "'an open mesh'",
        [
            *(
                _mesh_folder(name)
                for name in (
                    *(
                        "obj_uv_seams",
                        "stl_noisy_corners",
                        "stl_ascii",
                        "stl_binary_says_solid",
                        "ply_big_endian_colour",
                    ),
                    *("obj_negative_index", "obj_quads", "vtk_legacy", "plain_ply", "names_lung_L_R"),
                    "upper_case_names",
                )
            ),
            _mesh_folder("glb_in_mm_z_up", refused("expected metres")),
            _mesh_folder("obj_cm", refused("cm|centi|multiply by 10")),
            _mesh_folder("stl_inside_out", ml(1710, 1930, "inside out")),
        ],
    ),
    27: Row(
        "both lungs in one mesh file",
        "refused: 'an open mesh'",
        [
            *(
                meshes(f"13/{name}", ml(2172, 2489))
                for name in (
                    *("binary_marching_cubes.ply", "binary_marching_cubes.stl", "smooth_float.stl"),
                    *(f"smooth_{digits}_digits.obj" for digits in (1, 2, 3, 4)),
                )
            ),
            _mesh_folder("both_in_one.obj"),
        ],
    ),
    28: Row(
        "STL in metres; LPS or RAS",
        "right, clear",
        [
            _mesh_folder("stl_metres", refused("metres")),
            _mesh_folder("stl_lps_slicer"),
            _mesh_folder("stl_lps_unmarked", told("patient's right")),
        ],
    ),
    29: Row(
        "MONOCHROME1, pixel spacings of DICOM radiographs",
        "right",
        [
            radiograph("mono1.dcm", told("ImagerPixelSpacing")),
            radiograph("both_spacings.dcm", told("spacing")),
            radiograph("pixel_spacing_calibrated.dcm", told("spacing")),
            radiograph("no_spacing.dcm", told("no pixel spacing")),
            radiograph("two_frames.dcm", refused("frames")),
        ],
    ),
    30: Row(
        "turned, mirrored, askew, two in one, photos",
        "askew, two in one: silent",
        [
            radiograph("plain.png", Right(told="^$")),
            radiograph("mirrored.png", told("mirrored")),
            radiograph("rot90.png", told("turned by")),
            radiograph("rot180.png", told("turned by")),
            radiograph("two_in_one.png", told("two pictures")),
            radiograph("phone_photo_grey_tilted.jpg", told("tilted by")),
            radiograph("phone_photo_colour_cast.jpg", refused("colour")),
            radiograph("noise.png", told("no frontal chest")),
            radiograph("black_collimator_border.png", told("darkest"), refused("border")),
            radiograph("lateral.png", told("no frontal chest")),
        ],
    ),
    31: Row(
        "giant bulla, pneumothorax, removed lung, white-out",
        "lungs missing or too large, silent",
        [
            ct("12/giant_bulla.nii.gz", Right(truth="12/giant_bulla_truth.nii.gz", told="bulla")),
            ct(
                "12/pneumothorax_right.nii.gz",
                Right(truth="12/pneumothorax_right_truth.nii.gz", dice=0.9, told="pneumothorax"),
            ),
            ct("12/pneumonectomy_left.nii.gz", Right(truth="12/pneumonectomy_left_truth.nii.gz", told="no left lung")),
            ct("12/whiteout_left.nii.gz", Right(truth="12/whiteout_left_truth.nii.gz", dice=0.9, told="dense tissue")),
            *(
                ct(f"17/{name}.nii.gz", told("dense tissue|1 to"))
                for name in ("left_top_90", "left_top_120", "right_top_60")
            ),
        ],
    ),
    32: Row(
        "DICOM SEG or RTSTRUCT as the mask",
        "'unknown kind .dcm'",
        [
            labels("09/seg/seg.dcm", refused("DICOM SEG")),  # stubs: they hold neither segments nor contours
            labels("09/seg/RS.dcm", refused("RTSTRUCT")),
        ],
    ),
    33: Row(
        "NIfTI-2, gzip under .nii, Analyze pair",
        "'header cannot be read'",
        [
            labels("04/nifti2.nii.gz", ml(*BOTH)),
            labels("04/really_gz.nii", ml(*BOTH)),
            labels("04/really_plain.nii.gz", ml(*BOTH)),
            labels("04/pair.img", ml(*BOTH), refused("pair|Analyze|.img")),
        ],
    ),
    34: Row("names: OneDrive, umlauts, other scripts", "right", []),
}

"""Norms against what is known: cohorts drawn from lines with a known spread."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lpm.apps.cli import run
from lpm.errors import InputError, SchemaError
from lpm.files.meshes import write_mesh
from lpm.geometry.meshes import WorldMesh
from lpm.measurement.measure import Measured, placed
from lpm.measurement.norms.cohort import norm_of
from lpm.measurement.norms.learning import learn_norm
from lpm.measurement.norms.norm import Norm, read_norm, write_norm
from lpm.measurement.norms.people import People, person_of, read_people
from lpm.measurement.profiles import profile_measures, profiles
from lpm.measurement.subjects import Subject

N = 400


def cohort(rng: np.random.Generator, n: int = N) -> tuple[dict[str, dict[str, float]], People]:
    """Volumes that grow by 40 ml a cm and 1,000 ml from female to male, with a spread of 300 ml; areas log-normal."""
    rows, values = {}, {}
    for index in range(n):
        person = {"age": rng.uniform(20, 80), "sex": float(index % 2), "height": rng.uniform(150, 190)}
        rows[f"s{index}"] = person
        values[f"s{index}"] = {
            "total_volume_ml": 5000 + 40 * (person["height"] - 170) + 1000 * person["sex"] + rng.normal(0, 300),
            "area_cm2": float(np.exp(rng.normal(5.0, 0.5))),
        }
    return values, People(("age", "sex", "height"), rows)


@pytest.fixture(scope="module")
def norm() -> Norm:
    return learn_norm(*cohort(np.random.default_rng(0)))


def test_a_norm_finds_the_line_and_the_spread(norm: Norm) -> None:
    found = norm.measures["total_volume_ml"]
    _, age, sex, height = found.coefficients
    assert (age, sex, height) == pytest.approx((0.0, 1000.0, 40.0), abs=90.0)
    assert height == pytest.approx(40.0, abs=4.0)
    assert found.sd == pytest.approx(300.0, rel=0.1)
    assert not found.is_log
    assert norm.measures["area_cm2"].is_log
    assert norm.measures["area_cm2"].sd == pytest.approx(0.5, rel=0.1)


def test_a_value_stands_where_its_person_would_have_it(norm: Norm) -> None:
    reference = norm.reference({"age": 50.0, "sex": 1.0, "height": 180.0})
    standing = reference.standing("total_volume_ml", 6400 + 600)
    assert standing is not None
    assert standing.z == pytest.approx(2.0, abs=0.25)
    assert standing.centile == pytest.approx(97.7, abs=1.5)
    low, middle, high = reference.band("area_cm2")
    assert (low, middle, high) == pytest.approx(tuple(np.exp([5 - 0.98, 5.0, 5 + 0.98])), rel=0.15)
    assert reference.standing("total_volume_ml", float("nan")) is None
    assert reference.standing("area_cm2", -1.0) is None


def test_centiles_of_few_subjects_are_honest() -> None:
    """New subjects of a cohort of ten lie below centile 2.5 in 2.5 % of the cases: those by the plain SD do in 5."""
    drawn = np.random.default_rng(1).normal(200.0, 10.0, (11, 1000))
    *cohort_rows, new = ({f"m{j}_mm": float(v) for j, v in enumerate(row)} for row in drawn)
    found = learn_norm({f"s{i}": row for i, row in enumerate(cohort_rows)}).reference({}).standings(new)
    below = np.array([standing.centile for standing in found.values()]) < 2.5
    assert below.mean() == pytest.approx(0.025, abs=0.01)


def test_z_scores_are_normal_quantiles_of_students_distribution() -> None:
    values = {f"s{i}": {"height_mm": float(v)} for i, v in enumerate([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])}
    standing = learn_norm(values).reference({}).standing("height_mm", 12.0)
    assert standing is not None
    t = (12.0 - 5.5) / (np.std(np.arange(10), ddof=1) * np.sqrt(1.1))
    assert standing.z == pytest.approx(stats.norm.ppf(stats.t.cdf(t, 9)))


def test_a_norm_is_written_and_read(norm: Norm, tmp_path: Path) -> None:
    write_norm(tmp_path / "norm.json", norm)
    assert read_norm(tmp_path / "norm.json") == norm
    (tmp_path / "other.json").write_text('{"schema_version": 1}')
    with pytest.raises(SchemaError, match="does not follow"):
        read_norm(tmp_path / "other.json")


def test_what_lies_beyond_the_cohort_is_said(norm: Norm) -> None:
    assert "age 93 lies beyond" in norm.reference({"age": 93.0, "sex": 0.0, "height": 170.0}).notes[0]
    values, people = cohort(np.random.default_rng(2), 40)
    women = {name: row for name, row in values.items() if people.rows[name]["sex"] == 0.0}
    found = learn_norm(women, people)
    assert "sex" not in found.covariates
    assert any("sex is the same for all subjects" in note for note in found.notes)


def test_subjects_without_a_row_are_left_out_and_named() -> None:
    values, people = cohort(np.random.default_rng(3), 30)
    rows = {**people.rows, "stranger": {"age": 50.0, "sex": 0.0, "height": 170.0}, "s1": {"age": 50.0}}
    del rows["s0"]
    found = learn_norm(values, People(people.covariates, rows))
    assert found.n_subjects == 28
    said = "\n".join(found.notes)
    assert "1 not in the table, left out: s0" in said
    assert "1 with empty cells, left out: s1" in said
    assert "1 in the table only: stranger" in said


def test_norms_that_cannot_be_learned() -> None:
    values, people = cohort(np.random.default_rng(4), 30)
    few = dict(list(values.items())[:9])
    with pytest.raises(InputError, match="9 subjects; expected at least 12, with 3 covariates"):
        learn_norm(few, people)
    twice = {name: {**row, "age": row["height"]} for name, row in people.rows.items()}
    with pytest.raises(InputError, match="say the same"):
        learn_norm(values, People(people.covariates, twice))
    with pytest.raises(InputError, match="no subject with age, sex, height"):
        learn_norm({f"other{i}": row for i, row in enumerate(values.values())}, people)
    with pytest.raises(InputError, match="no measure that all subjects have"):
        learn_norm({name: {name: 1.0} for name in values})


def test_a_person_of_whom_too_little_is_known(norm: Norm) -> None:
    with pytest.raises(InputError, match=r"no sex and no height.*--sex --height"):
        placed(Measured("one", {"total_volume_ml": 5000.0}), norm, {"age": 50.0})
    with pytest.raises(InputError, match="knows none of spleen_volume_ml"):
        placed(Measured("one", {"spleen_volume_ml": 5.0}), norm, {"age": 50.0, "sex": 0.0, "height": 170.0})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,age\na,50\n", "expected a column case or subject"),
        ("subject,weight\na,50\n", "any of age"),
        ("subject,age,age_years\na,50,50\n", "two columns of one kind"),
        ("subject,age\na,fifty\n", r"subjects.csv, a, age: 'fifty'; expected a number"),
        ("subject,age\na,inf\n", "a finite number"),
        ("subject,sex\na,1\n", "a, sex: '1'; expected F or M"),
        ("subject,height\na,1.75\n", "metres"),
        ("subject,age\na,150\n", "0 to 120 years"),
        ("subject,age\na,50\na,60\n", "line 3: 'a' twice"),
        ("subject,age\n,50\n", "line 2: names no subject"),
    ],
)
def test_tables_that_cannot_be_read(table: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "subjects.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        read_people(tmp_path / "subjects.csv")


def test_a_table_of_subjects(tmp_path: Path) -> None:
    (tmp_path / "subjects.csv").write_text("Case;Sex;Age;Height_cm;site\na;f;50;165.5;X\nb;Male;;180;Y\n")
    found = read_people(tmp_path / "subjects.csv")
    assert found.covariates == ("age", "sex", "height")
    assert found.rows == {"a": {"age": 50.0, "sex": 0.0, "height": 165.5}, "b": {"sex": 1.0, "height": 180.0}}
    assert person_of({"age": None, "sex": "M"}, "one") == {"sex": 1.0}


def test_a_table_as_a_spreadsheet_saves_it(tmp_path: Path) -> None:
    text = "Subject;Alter;AGE;height_cm\r\n7;x;61,5;170\r\np2.nii.gz;x;NA;165,5\r\n"
    (tmp_path / "subjects.csv").write_bytes(text.encode("utf-16"))
    found = read_people(tmp_path / "subjects.csv", ["007", "p2"])
    assert found.rows == {"007": {"age": 61.5, "height": 170.0}, "p2": {"height": 165.5}}
    assert "'7' is '007', 'p2.nii.gz' is 'p2'" in found.notes[0]


def test_doubtful_subjects_are_left_out_of_a_norm() -> None:
    rng = np.random.default_rng(0)
    subjects = [Subject(f"s{index}", (Path(f"s{index}/labels.nii.gz"),)) for index in range(14)]
    results = []
    for index, one in enumerate(subjects):
        left, right = (2500.0, 3000.0) if index else (20.0, 3000.0)
        sizes = {"left_lung_volume_ml": left, "right_lung_volume_ml": right + rng.normal(0.0, 100.0)}
        results.append(Measured(one.name, sizes))
    results[5] = replace(results[4], subject="s5")
    norm = norm_of(subjects, results, keep_doubtful=False)
    assert norm.n_subjects == 12
    assert [note for note in norm.notes if "doubtful" in note] == [
        "s5 left out, doubtful: the same lungs as s4",
        next(note for note in norm.notes if note.startswith("s0 left out, doubtful: left_lung collapsed or missing")),
    ]
    kept = norm_of(subjects, results, keep_doubtful=True)
    assert kept.n_subjects == 14
    assert kept.notes[0] == "s5 takes part, though doubtful: the same lungs as s4"
    with pytest.raises(InputError, match=r"8 subjects \(s0 left out, doubtful.*--keep-doubtful takes those"):
        norm_of([*subjects[:5], *subjects[6:10]], [*results[:5], *results[6:10]], keep_doubtful=False)
    with pytest.raises(InputError, match="2 subjects called 's1'"):
        norm_of([*subjects, subjects[1]], results, keep_doubtful=False)


def test_lungs_of_other_structures_and_of_other_models_are_named(tmp_path: Path) -> None:
    rng, subjects, results = np.random.default_rng(0), [], []
    for index in range(12):
        lungs = ("left_lung", "right_lung") if index != 3 else ("left_lung",)
        values = {
            f"{lung}_{end}": 2500.0 + rng.normal(0.0, 100.0)
            for lung in lungs
            for end in ("volume_ml", "section_05_cm2")
        }
        results.append(Measured(f"s{index}", values | {"total_volume_ml": 2500.0 * len(lungs)}))
        subjects.append(Subject(f"s{index}", (tmp_path / f"s{index}" / "left_lung.ply",)))
        model = {"preset": "atlas", "training_subjects": 39, "digest": "ab" * 32 if index < 10 else "cd" * 32}
        summary = {"volume_ml": dict.fromkeys(lungs, 2500.0), "model": model}
        (tmp_path / f"s{index}").mkdir()
        (tmp_path / f"s{index}" / "fit.json").write_text(json.dumps(summary))
    norm = norm_of(subjects, results, keep_doubtful=True)
    assert norm.n_subjects == 11
    assert norm.notes[0] == "s3 left out, of other structures: left_lung, not left_lung and right_lung"
    assert "fits of 2 models" in norm.notes[1]
    assert "atlas of 39, cdcdcdcd: s10, s11" in norm.notes[1]
    assert {"total_volume_ml", "right_lung_volume_ml"} <= set(norm.measures)
    with pytest.raises(InputError, match="1 subject; expected at least 9"):
        norm_of(subjects[:1], results[:1], keep_doubtful=True)
    with pytest.raises(InputError, match=r"8 subjects \(s3 left out, of other structures: left_lung"):
        norm_of(subjects[:9], results[:9], keep_doubtful=True)


# --- Profiles ---------------------------------------------------------------------------------------------------------


def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...], n: int = 40) -> WorldMesh:
    """Closed and outward, of n by 2n places of latitude and longitude."""
    up, round_ = np.linspace(0.0, np.pi, n), np.linspace(0.0, 2.0 * np.pi, 2 * n, endpoint=False)
    v, u = (grid.ravel() for grid in np.meshgrid(up[1:-1], round_, indexing="ij"))
    rings = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], axis=1)
    m, faces = 2 * n, []
    for i in range(m):
        j = (i + 1) % m
        faces.append((len(rings), i, j))
        faces += [(r * m + i, (r + 1) * m + i, (r + 1) * m + j) for r in range(n - 3)]
        faces += [(r * m + i, (r + 1) * m + j, r * m + j) for r in range(n - 3)]
        faces.append(((n - 3) * m + i, len(rings) + 1, (n - 3) * m + j))
    vertices = np.concatenate([rings, [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]])
    return WorldMesh(np.array(centre) + vertices * radii, np.array(faces))


def test_profiles_of_an_ellipsoid_are_exact() -> None:
    mesh = ellipsoid((0.0, 0.0, 53.0), (30.0, 40.0, 50.0))
    found = profiles({"left_lung": mesh}, slice_mm=10.0)
    tenths = [slab for slab in found if slab.kind == "tenth"]
    slices = [slab for slab in found if slab.kind == "slice"]
    assert len(tenths) == 10
    assert [slab.low_mm for slab in slices[1:]] == pytest.approx(list(range(10, 110, 10)), abs=0.2)
    for slabs in (tenths, slices):
        assert sum(slab.volume_ml for slab in slabs) == pytest.approx(mesh.volume_ml)
    u = (np.array([slab.low_mm + slab.high_mm for slab in tenths]) / 2.0 - 53.0) / 50.0
    areas = np.pi * 30.0 * 40.0 / 100.0 * (1 - u**2)
    assert [slab.area_cm2 for slab in tenths] == pytest.approx(areas, rel=0.03, abs=0.3)
    values = profile_measures({"left_lung": mesh})
    assert values["left_lung_tenth_3_ml"] == pytest.approx(tenths[2].volume_ml)
    assert values["left_lung_section_25_cm2"] == pytest.approx(tenths[2].area_cm2)
    with pytest.raises(InputError, match="some millimetres"):
        profiles({"left_lung": mesh}, slice_mm=0.001)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve subjects of two boxes' worth of lungs each, wider from one to the next."""
    folder, rng = tmp_path_factory.mktemp("cohort"), np.random.default_rng(5)
    for index in range(12):
        wide = 60.0 * (1 + 0.1 * rng.normal())
        for name, side in (("left_lung", -80.0), ("right_lung", 80.0)):
            mesh = ellipsoid((side, 0.0, 0.0), (wide, 70.0, 100.0), 12)
            write_mesh(folder / f"s{index}" / f"{name}.ply", mesh)
    return folder


def test_population_then_measure_by_the_command_line(folders: Path, tmp_path: Path) -> None:
    norm, table = tmp_path / "norm.json", tmp_path / "subjects.csv"
    assert run(["population", str(folders), "--out", str(norm)]) == 0
    words = ["measure", str(folders / "s3"), "--model", "none", "--norm", str(norm)]
    files = {name: tmp_path / name for name in ("m.csv", "p.csv", "m.json", "p.png")}
    asked = ["--csv", "m.csv", "--profiles", "p.csv", "--json", "m.json", "--picture", "p.png"]
    assert run([*words, *(str(files.get(word, word)) for word in asked)]) == 0
    with files["m.csv"].open() as file:
        (row,) = csv.DictReader(file)
    assert -3.0 < float(row["total_volume_ml_z"]) < 3.0
    assert 0.0 < float(row["total_volume_ml_centile"]) < 100.0
    with files["p.csv"].open() as file:
        rows = list(csv.DictReader(file))
    tenths = [row for row in rows if row["kind"] == "tenth"]
    assert len(tenths) == 20
    assert all(row["volume_z"] and row["area_z"] for row in tenths)
    assert not any(row["volume_z"] for row in rows if row["kind"] == "slice")
    assert json.loads(files["m.json"].read_text())[0]["values"]["width_mm"]["centile"] > 0.0
    assert files["p.png"].stat().st_size > 2000
    table.write_text("subject,age\n" + "".join(f"s{i},{30 + i}\n" for i in range(12)))
    assert run(["population", str(folders), "--table", str(table), "--out", str(norm)]) == 0
    assert run([*words, "--age", "31"]) == 0
    assert run(words) == 1
    assert run([*words[:4], "--age", "31"]) == 2
    assert run(["measure", str(folders), "--model", "none", "--norm", str(norm), "--age", "31"]) == 2
    assert run(["measure", str(folders), "--model", "none", "--norm", str(norm), "--table", str(table)]) == 0


def test_parts_of_a_fit_are_lobes_and_no_further_lungs(folders: Path, tmp_path: Path) -> None:
    whole = {}
    for name in ("left_lung", "right_lung"):
        (tmp_path / "fit" / f"{name}.ply").parent.mkdir(exist_ok=True)
        (tmp_path / "fit" / f"{name}.ply").write_bytes((folders / "s0" / f"{name}.ply").read_bytes())
    (tmp_path / "fit" / "left_upper_lobe.ply").write_bytes((folders / "s0" / "left_lung.ply").read_bytes())
    whole = {"structures": ["left_lung", "right_lung"], "total_volume_95_ml": None}
    (tmp_path / "fit" / "fit.json").write_text(json.dumps(whole | {"part_volume_ml": {"left_upper_lobe": 700.0}}))
    assert run(["measure", str(tmp_path / "fit"), "--model", "none", "--csv", str(tmp_path / "m.csv")]) == 0
    with (tmp_path / "m.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["left_upper_lobe_volume_ml"]) == 700.0
    assert float(row["total_volume_ml"]) == pytest.approx(float(row["left_lung_volume_ml"]) * 2, rel=1e-3)

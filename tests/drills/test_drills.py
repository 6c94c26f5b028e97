"""A dozen of the fault drills (`make drills` runs all): each ends as if undisturbed, or in an error in words."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from folders import dead_worker, two_runs, vanishing
from kills import HOWS, killed, undisturbed
from verbs import VERBS
from world import make_world

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]
VERB = {verb.name: verb for verb in VERBS}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"), fits=False)


@pytest.mark.drill
@pytest.mark.parametrize("name", ["segment", "segment, many, --jobs 2", "measure, --jobs 2"])
def test_a_verb_that_is_disturbed(world: Path, tmp_path: Path, name: str) -> None:
    verb, rng = VERB[name], np.random.default_rng(1)
    reference = undisturbed(verb, world, tmp_path / "reference")
    found = [killed(verb, how, reference, world, tmp_path / "drill", rng=rng) for how in HOWS]
    if "many" in name:
        drills = (vanishing, two_runs, dead_worker)
        found += [drill(verb, reference, world, tmp_path / "drill", rng=rng) for drill in drills]
    assert [(one.drill, one.faults, one.said) for one in found if one.faults] == []

"""Rank correlation of students with another network: on its own crops of the frames, found and scored once."""

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from dtda.core.benchmark import Contender
from dtda.core.data.chips import cut_chips
from dtda.core.data.gather import gather
from dtda.core.data.manifest import read_manifest
from dtda.core.errors import DtdaError
from dtda.core.pictures import read_picture
from dtda.core.preprocess import CropRule, crop
from dtda.core.resampling import draw
from dtda.core.sidecar import Threshold
from dtda.core.training.ablation import do, jobs
from dtda.core.training.ablation_agreement import rank_correlations, ranks, refer
from dtda.core.training.ablation_rows import picked
from dtda.core.training.checkpoint import load_student
from dtda.core.training.config import TrainConfig
from dtda.core.training.scoring import logits
from dtda.core.types import EngineInfo, Face

RULE = CropRule(24, 2.0, "upright")


def test_ranks_on_draws_are_those_of_the_people_drawn():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 6, 30) / 6, rng.normal(size=30)  # ties
    other += one
    other[3] = np.nan
    people = draw([f"s{number // 2}" for number in range(30)], 25)
    live = np.arange(30) < 20
    found = rank_correlations(one, other, people, {"live": live, "few": np.arange(30) < 2})
    chosen = np.flatnonzero(live & ~np.isnan(other))
    assert found["live"].value == pytest.approx(spearmanr(one[chosen], other[chosen]).statistic)
    for counts, value in zip(people.counts, found["live"].draws, strict=True):
        drawn = np.repeat(chosen, counts[people.unit[chosen]].astype(int))
        assert value == pytest.approx(spearmanr(one[drawn], other[drawn]).statistic)
    assert np.isnan(found["few"].value)
    flat = rank_correlations(np.ones(30), other, people, {"live": live})["live"]
    assert np.isnan(flat.value)
    assert np.isnan(flat.draws).all()


def fine(chips):
    """Attacks of `textures` have a fine chequer."""
    grey = chips.mean(3)
    return np.clip(1 - np.abs(np.diff(grey, axis=2)).mean((1, 2)) / 20, 0, 1).astype(np.float32)


def network(way=fine):
    info = EngineInfo("a|b", "n.json", "fake", "none", "fp32", RULE.size, RULE.margin, 0.5, "0" * 64, crop=RULE.kind)
    return Contender("a|b", info, way, {"default": Threshold(value=0.5, rule="fixed", split="none")})


def never(*_):
    raise AssertionError("this was done before")


@pytest.fixture(scope="module")
def job(textures, tmp_path_factory):
    data = {"manifests": [str(textures)], "size": 32, "margin": 1.3, "crops": 1}
    # After one epoch its logits are the same for all pictures but for rounding, and ranks are those of noise.
    config = TrainConfig.model_validate({"threads": 1, "workers": 0, "data": data, "optim": {"epochs": 4, "batch": 16}})
    (made,) = jobs(config, "sim-loo", ["c"], picked(["ERM"]), 1, tmp_path_factory.mktemp("out"))
    do(made, None)
    return made


def test_student_and_network_each_see_their_own_crop(job, textures, tmp_path):
    pictures = gather(str(textures), ["dev"])
    reference = refer(network(), [job], pictures, tmp_path, never)
    scores = do(job, None)
    found = ranks([job], reference, never, 20)[job.row, job.fold, job.seed]
    assert list(found) == ["a/b: live", "a/b: attack", "a/b: unlabelled"]

    def theirs(records):
        return [fine(crop(read_picture(r.path), r.points, RULE)[None])[0] for r in records]

    def mine(records, name):
        chips = cut_chips(records, CropRule(32, 1.3), 1, tmp_path / name)
        return logits(load_student(job.out / "last.ckpt").student, chips, range(len(records)))

    records = {str(r.path): r for r in read_manifest(textures)}
    test = scores.of("test")
    for name, chosen in (("live", test.live), ("attack", ~test.live)):
        shown = [records[path] for path in test.path[chosen].tolist()]
        expected = spearmanr(mine(shown, "test"), theirs(shown)).statistic
        assert found[f"a/b: {name}"].value == pytest.approx(expected)
        assert len(found[f"a/b: {name}"].draws) == 20

    dev = [r for r in records.values() if r.split == "dev"]
    assert found["a/b: unlabelled"].value == pytest.approx(spearmanr(mine(dev, "dev"), theirs(dev)).statistic)

    again = refer(network(never), [job], pictures, tmp_path, never)  # nothing is scored twice
    assert ranks([job], again, never, 20)[job.row, job.fold, job.seed]["a/b: live"].value == found["a/b: live"].value
    without = ranks([job], refer(network(never), [job], None, tmp_path, never), never, 20)
    assert [list(each) for each in without.values()] == [["a/b: live", "a/b: attack"]]


def test_another_network_is_scored_anew(job, tmp_path):
    from dataclasses import replace

    refer(network(), [job], None, tmp_path, never)
    other = network(lambda chips: np.full(len(chips), 0.25, np.float32))
    other = replace(other, info=replace(other.info, sha256="1" * 64))
    assert set(refer(other, [job], None, tmp_path, never).tested["c"].values()) == {0.25}


def test_the_face_of_an_unlabelled_picture_is_found_once(job, textures, tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    records = read_manifest(textures)[:4]
    for number, record in enumerate(records):
        picture = read_picture(record.path)
        cv2.imwrite(str(folder / f"{number}.png"), picture[:-1] if number == 2 else picture)
    shown = []

    def detect(bgr):
        shown.append(bgr.shape)
        box = np.array([40, 40, 120, 140], np.float32)
        small = Face(box / 4, records[0].points / 4, 0.99)
        return [] if bgr.shape[0] == 159 else [small, Face(box, records[0].points, 0.9)]

    reference = refer(network(), [job], gather(str(folder)), tmp_path / "out", lambda: detect)
    assert len(shown) == 4
    assert [record.path.name for record in reference.pictures] == ["0.png", "1.png", "3.png"]
    for record in reference.pictures:
        np.testing.assert_allclose(record.points, records[0].points)
    found = ranks([job], reference, never, 10)
    assert np.isfinite(found["ERM", "c", 0]["a/b: unlabelled"].value)
    refer(network(never), [job], gather(str(folder)), tmp_path / "out", never)
    with pytest.raises(DtdaError, match="no face was found in 4 pictures"):
        refer(network(), [job], gather(str(folder)), tmp_path / "other", lambda: lambda bgr: [])


def test_clips_are_no_pictures(job, clip, tmp_path):
    with pytest.raises(DtdaError, match=r"drift\.mp4: is no picture; --unlabelled takes"):
        refer(network(), [job], gather(str(clip.parent)), tmp_path / "out", never)

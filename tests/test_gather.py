"""What `--data` may be: manifests, labelled and unlabelled folders, public sets, some of their clips."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dtda.core.data.gather import gather
from dtda.core.errors import DtdaError
from dtda.core.types import Label


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_manifest_keeps_its_points_and_splits(textures):
    data = gather(str(textures), ["test"])
    assert data.labelled
    assert {clip.split for clip in data.clips} == {"test"}
    assert data.clips[0].points.shape == (5, 2)
    assert not data.notes
    mixed = gather(str(textures.parent))  # the folder that holds it
    assert len(mixed.clips) == 144
    assert "Splits are mixed" in mixed.notes[0]
    with pytest.raises(DtdaError, match="no clips of the split nothing"):
        gather(str(textures), ["nothing"])


def test_some_clips_are_drawn_again_by_the_same_seed(textures):
    first, again, other = (gather(str(textures), limit=20, seed=seed) for seed in (1, 1, 2))
    assert [clip.path for clip in first.clips] == [clip.path for clip in again.clips]
    assert [clip.path for clip in first.clips] != [clip.path for clip in other.clips]
    assert "20 of 144 clips, drawn with seed 1." in first.notes
    assert len(gather(str(textures), limit=1000).clips) == 144


def test_attack_types_are_folders_in_spoof_or_beside_live(tmp_path):
    touch(tmp_path, "one/live/a.png", "one/spoof/print/b.png", "one/spoof/phone/c.mp4", "one/notes/d.png")
    touch(tmp_path, "two/real/a.png", "two/print/b.png", "two/phone/c.mp4", "two/.thumbs/d.png")
    for name in ("one", "two"):
        data = gather(str(tmp_path / name))
        found = {clip.path.stem: (clip.label, clip.attack_type) for clip in data.clips}
        assert found == {"a": (Label.LIVE, ""), "b": (Label.SPOOF, "print"), "c": (Label.SPOOF, "phone")}
        assert data.labelled


def test_other_folders_and_single_files_are_unlabelled(tmp_path):
    touch(tmp_path, "a.png", "b/c.jpg", "b/d.txt")
    data = gather(str(tmp_path))
    assert not data.labelled
    assert Counter(clip.label for clip in data.clips) == {Label.CANNOT_TELL: 2}
    assert [clip.video for clip in data.clips] == ["a.png", "b/c.jpg"]
    assert not gather(str(tmp_path / "a.png")).labelled


def test_a_public_set_is_named(tmp_path):
    touch(tmp_path, "live/a.png", "spoof/b.png")
    data = gather(f"generic:mine={tmp_path}")
    assert {clip.domain for clip in data.clips} == {"mine"}
    with pytest.raises(DtdaError, match="no such folder"):
        gather(f"lcc-fasd={tmp_path / 'none'}")


def test_nothing_to_look_at_is_refused(tmp_path):
    with pytest.raises(DtdaError, match="no such folder or manifest"):
        gather(str(tmp_path / "none"))
    with pytest.raises(DtdaError, match="holds no videos or pictures"):
        gather(str(tmp_path))


def test_frames_of_one_clip_are_drawn_together(textures):
    from dataclasses import replace

    from dtda.core.data.manifest import read_manifest, write_manifest

    records = [replace(record, video=f"clip{number // 4}") for number, record in enumerate(read_manifest(textures))]
    table = textures.parent / "clips.csv"
    write_manifest(table, records)
    data = gather(str(table), limit=5)
    names = Counter((clip.domain, clip.part_of) for clip in data.clips)
    assert len(names) == 5
    wanted = Counter((record.domain, record.video) for record in records)
    assert all(names[key] == wanted[key] for key in names)
    assert np.all([clip.points is not None for clip in data.clips])

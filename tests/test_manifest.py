"""Manifests: what is written is read again, and pictures of different sets stay apart."""

import shutil

import pytest

from dtda.core.data.manifest import read_manifest, write_manifest

TEXT = "path,label,domain,subject,split\n1.png,live,x,s,train\n2.png,spoof,x,s,train\n"


@pytest.fixture
def two(tmp_path):
    """Two sets with the same layout and domain."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.csv").write_text(TEXT)
    return [tmp_path / name / "manifest.csv" for name in ("one", "two")]


def test_pictures_of_two_sets_with_the_same_layout_are_different_videos(two):
    records = [record for path in two for record in read_manifest(path)]
    assert len({(record.domain, record.video) for record in records}) == 4


def test_a_manifest_without_videos_still_has_none_after_it_was_moved(two, tmp_path):
    write_manifest(two[0], read_manifest(two[0]))
    moved = tmp_path / "elsewhere"
    shutil.move(two[0].parent, moved)
    records = read_manifest(moved / "manifest.csv")
    assert [record.video for record in records] == [str(moved / "1.png"), str(moved / "2.png")]


def test_named_videos_are_kept(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("path,label,domain,subject,split,video\n1.png,live,x,s,train,clip\n2.png,live,x,s,train,\n")
    for _ in range(2):
        records = read_manifest(path)
        assert [record.video for record in records] == ["clip", str(tmp_path / "2.png")]
        write_manifest(path, records)

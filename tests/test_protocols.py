"""Protocols over made-up records: who trains, who sets the threshold, who tests, and what is refused."""

from pathlib import Path

import pytest

from dtda.core.data.manifest import Record, read_manifest, write_manifest
from dtda.core.data.protocols import read_protocols, resolve
from dtda.core.errors import DtdaError
from dtda.core.types import Label


def record(domain, split, label, subject, kind="print", **tags):
    live = label == "live"
    name = f"{domain}-{split}-{label}-{subject}-{kind}"
    return Record(Path(f"{name}.png"), Label(label), "" if live else kind, domain, subject, split, None, name, tags)


def everything(domains=("a", "b", "c"), kinds=("print", "screen")):
    return [
        record(domain, split, label, f"{split}{number}", kind)
        for domain in domains
        for split in ("train", "dev", "test")
        for number in range(2)
        for label, kind in (("live", ""), *(("spoof", kind) for kind in kinds))
    ]


def test_leaving_a_domain_out_keeps_it_and_its_people_out():
    records = everything()
    folds = resolve("sim-loo", records)
    assert [(fold.name, fold.sources, fold.targets) for fold in folds] == [
        ("a", ("b", "c"), ("a",)),
        ("b", ("a", "c"), ("b",)),
        ("c", ("a", "b"), ("c",)),
    ]
    for fold in folds:
        for part, split in (("train", "train"), ("dev", "dev"), ("test", "test")):
            chosen = [records[i] for i in getattr(fold, part)]
            assert {r.split for r in chosen} == {split}
            assert {r.domain for r in chosen} == (set(fold.targets) if part == "test" else set(fold.sources))
            assert {r.label for r in chosen} == {Label.LIVE, Label.SPOOF}


def test_a_domain_without_training_pictures_can_still_be_left_out():
    records = [r for r in everything() if r.domain != "c" or r.split == "test"]
    assert [fold.name for fold in resolve("sim-loo", records)] == ["a", "b", "c"]
    (fold,) = resolve("sim-loo", records, "a")
    assert fold.sources == ("b",)


def test_leaving_an_attack_type_out_keeps_all_live_pictures():
    records = everything()
    (fold,) = resolve("sim-cross-type", records, "screen")
    trained, tested = ([records[i] for i in part] for part in (fold.train, fold.test))
    assert {r.attack_type for r in trained} == {"", "print"}
    assert {r.attack_type for r in tested} == {"", "screen"}
    assert sum(r.label is Label.LIVE for r in trained) == 6


def test_a_set_without_dev_gives_every_sixth_subject(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        [mine]
        about = "x"
        [[mine.fold]]
        name = "f"
        train = [{ domain = ["a"] }]
        test = [{ domain = ["b"] }]
        carve = ["a"]
        """
    )
    records = [record(d, "train", label, f"{d}{n:02}") for d in "ab" for n in range(12) for label in ("live", "spoof")]
    (fold,) = resolve(f"{path}:mine", records)
    assert {records[i].subject for i in fold.dev} == {"a00", "a06"}
    assert not {records[i].subject for i in fold.train} & {"a00", "a06"}
    assert len(fold.train) + len(fold.dev) == 24


def test_what_cannot_be_resolved_is_named(tmp_path):
    records = everything()
    with pytest.raises(DtdaError, match="mars: no such protocol; there are splits, sim-loo"):
        resolve("mars", records)
    with pytest.raises(DtdaError, match="protocol sim-loo has no fold mars; there are a, b, c"):
        resolve("sim-loo", records, "mars")
    path = tmp_path / "mine.toml"
    rule = '[mine]\nabout = "x"\n[[mine.fold]]\nname = "f"\ndev = [{{split = ["dev"]}}]\n{}\ntest = [{{split = ["test"]}}]\n'
    path.write_text(rule.format('train = [{domain = ["mars"]}]'))
    with pytest.raises(
        DtdaError, match="protocol mine, fold f: needs mars, which is not in the data; there are a, b, c"
    ):
        resolve(f"{path}:mine", records)
    path.write_text(rule.format('train = [{split = ["test"]}]'))
    with pytest.raises(DtdaError, match="subject test0 is in its train and its test part"):
        resolve(f"{path}:mine", records)
    path.write_text(rule.format('train = [{split = ["train"]}]\ncolour = 1'))
    with pytest.raises(DtdaError, match="colour"):
        resolve(f"{path}:mine", records)
    path.write_text("[mine")
    with pytest.raises(DtdaError, match="not valid TOML"):
        resolve(f"{path}:mine", records)
    with pytest.raises(DtdaError, match="no such file of protocols"):
        resolve(f"{tmp_path / 'gone.toml'}:mine", records)
    mixed = [r for r in records if r.label is Label.LIVE or r.domain != "b"]
    with pytest.raises(DtdaError, match="source b has only live training pictures"):
        resolve("sim-loo", mixed, "a")
    live = [r for r in records if r.label is Label.LIVE or r.split != "dev"]
    with pytest.raises(
        DtdaError, match="protocol splits, fold splits: its dev part needs live and spoof pictures; it has only live"
    ):
        resolve("splits", live)


def test_every_built_in_protocol_says_what_it_is():
    assert all(protocol.about for protocol in read_protocols().values())


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    import numpy as np

    points = np.arange(10, dtype=np.float32).reshape(5, 2)
    records = [
        Record(tmp_path / "x" / "1.png", Label.LIVE, "", "a", "s1", "train", points, "clip1", {"phone": "3"}),
        Record(tmp_path / "x" / "2.png", Label.SPOOF, "print", "b", "s2", "test", None, "clip2", {"session": "1"}),
    ]
    write_manifest(tmp_path / "deep" / "manifest.csv", records)
    read = read_manifest(tmp_path / "deep" / "manifest.csv")
    for before, after in zip(records, read, strict=True):
        assert after.path.resolve() == before.path
        for name in ("label", "attack_type", "domain", "subject", "split", "video", "tags"):
            assert getattr(after, name) == getattr(before, name)
    np.testing.assert_array_equal(read[0].points, points)
    assert read[1].points is None

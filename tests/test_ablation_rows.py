"""Rows as data: each changes what it names and nothing else, and what is no row is refused by name."""

from pathlib import Path

import pytest

from dtda.core.errors import DtdaError
from dtda.core.training.ablation_rows import ROWS, Row, check_warm, picked, read_rows, row_config
from dtda.core.training.config import TrainConfig

TEACHERS = {name: {"kind": "stargan", "file": f"{name}.pth"} for name in ("perceptual", "generative")}


@pytest.fixture
def config():
    return TrainConfig.model_validate({"data": {"manifests": ["m.csv"]}, "teachers": TEACHERS})


def test_rows_switch_terms_and_nothing_else(config):
    made = {name: row_config(config, row) for name, row in ROWS.items()}
    assert {row: (c.domain.adversary, tuple(c.teachers)) for row, c in made.items()} == {
        "ERM": ("none", ()),
        "DAT": ("dat", ()),
        "DAA": ("daa", ()),
        "DAA + perceptual": ("daa", ("perceptual",)),
        "DAA + generative": ("daa", ("generative",)),
        "DTDA": ("daa", ("perceptual", "generative")),
    }
    for changed in made.values():
        same = changed.model_copy(update={"domain": config.domain, "teachers": config.teachers})
        assert same == config
    with pytest.raises(DtdaError, match=r"the row DTDA needs teachers\.generative"):
        row_config(config.model_copy(update={"teachers": {"perceptual": config.teachers["perceptual"]}}), ROWS["DTDA"])


def test_a_row_changes_what_it_names(config):
    row = Row(
        name="upright",
        change=('data.manifests=["a.csv", "b.csv"]', "data.crop=upright", "data.size=64", "teachers.perceptual.weight=2",
                "teachers.spoof.kind=antispoof", "teachers.spoof.file=n.json", "domain.adversary=dat"),
    )  # fmt: skip
    made = row_config(config, row)
    assert (made.data.manifests, made.data.crop, made.data.size) == ([Path("a.csv"), Path("b.csv")], "upright", 64)
    assert made.teachers["perceptual"].weight == 2.0
    assert (list(made.teachers), made.domain.adversary) == ([*TEACHERS, "spoof"], "dat")  # without terms: all there is
    assert row_config(config, Row(name="same")) == config
    some = row_config(config, row.model_copy(update={"terms": ("daa", "spoof")}))
    assert (list(some.teachers), some.domain.adversary) == (["spoof"], "daa")
    assert config.data.manifests == [Path("m.csv")]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"change": ["optim.lr=fast"]}, r"the row odd: optim\.lr: "),
        ({"change": ["optim.rate=1"]}, r"the row odd: optim\.rate: "),
        ({"change": ["student"]}, "an override is written section.key=value"),
        ({"change": ["data.fold=a"]}, r"the row odd changes data\.fold, which is the same for all rows"),
        ({"change": ["seed=3"]}, "the row odd changes seed"),
        ({"terms": ["daa", "dat"]}, "the row odd has two adversaries, daa and dat"),
        ({"terms": ["antispoof"]}, r"the row odd needs teachers\.antispoof"),
    ],
)
def test_changes_that_do_not_fit_are_refused(config, row, words):
    with pytest.raises(DtdaError, match=words):
        row_config(config, Row(name="odd", **row))


def test_a_file_of_rows(tmp_path):
    path = tmp_path / "rows.toml"
    path.write_text('[[row]]\nname = "full"\n[[row]]\nname = "no glare"\nchange = ["data.size=64"]\nterms = ["daa"]\n')
    rows = read_rows(path)
    assert rows == {
        "full": Row(name="full"),
        "no glare": Row(name="no glare", change=("data.size=64",), terms=("daa",)),
    }
    assert [row.name for row in picked(["no glare", "full", "full"], rows)] == ["no glare", "full"]
    with pytest.raises(DtdaError, match="ERM: no such row; there are full, no glare"):
        picked(["ERM"], rows)
    with pytest.raises(DtdaError, match="SSDG: no such row; there are ERM, DAT"):
        picked(["SSDG"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file of rows"),
        ("[[row", "not valid TOML"),
        ("", "row: Field required"),
        ("row = []", "row: List should have at least 1 item"),
        ('[[row]]\nnam = "a"', "row.0.name: Field required"),
        ('[[row]]\nname = "a"\nchange = "data.size=3"', "row.0.change: "),
        ('[[row]]\nname = "a|b"', "row.0.name: "),
        ('[[row]]\nname = "+"', "row.0.name: "),
        ('[[row]]\nname = "A b"\n[[row]]\nname = "a+b"', "the rows A b and a[+]b would share the folder a-b"),
        ('[[row]]\nname = "Warm-up"', "the rows warm-up and Warm-up would share the folder"),
    ],
)
def test_files_that_are_no_rows_are_refused(tmp_path, text, words):
    path = tmp_path / "rows.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DtdaError, match=words):
        read_rows(path)


def test_rows_that_cannot_start_from_the_common_student_are_refused(config):
    check_warm(config, [*ROWS.values(), Row(name="slow", change=("optim.lr=1e-4", "data.crops=1"))])
    for change in ("student=resnet18", "data.margin=3", 'data.manifests=["n.csv"]', "cue_map=0.1"):
        with pytest.raises(DtdaError, match=f"the row new changes {change.partition('=')[0]}, .* leave --warm out"):
            check_warm(config, [Row(name="new", change=(change,))])
    begun = config.model_copy(update={"weights": "x.pth"})
    for change in ("optim.keep=0.2", "optim.begun=0.2"):
        with pytest.raises(DtdaError, match=r"the row new has optim\.keep or optim\.begun, .* leave --warm out"):
            check_warm(begun, [Row(name="new", change=(change,))])


def test_the_rows_that_come_along_fit_their_configuration():
    from dtda.core.training.config import read_config

    scripts = Path(__file__).parents[1] / "scripts" / "train"
    found = list(scripts.glob("ablation-*.toml"))
    assert found
    for path in found:
        rows = read_rows(path)
        assert [row_config(read_config(scripts / "student-mobile.toml"), row) for row in rows.values()]

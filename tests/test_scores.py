"""Score files: kept to the bit, averaged by clip, refused in one sentence."""

import numpy as np
import pytest

from dtda.core.errors import DtdaError
from dtda.core.scores import About, make_table, read_scores, write_scores
from dtda.core.sidecar import Threshold

ROWS = [
    ("b/1.png", "clip2", "office", "ann", "live", "", "test"),
    ("b/0.png", "clip2", "office", "ann", "live", "", "test"),
    ("a/0.png", "clip1", "office", "bob", "spoof", "print", "test"),
    ("a/1.png", "clip1", "kiosk", "bob", "spoof", "print", "test"),  # the same name in another data set
    ("c,\n0.png", "clip3", "kiosk", "ann", "live", "", "dev"),
]
ABOUT = About(
    name="tiny",
    protocol="sim-loo",
    fold="kiosk",
    sources=["office"],
    targets=["kiosk"],
    thresholds={"default": Threshold(value=0.25, rule="equal error rate", split="dev")},
    history=[{"dev_auc": 0.5, "test_auc": None}],
)


def _csv(tmp_path, text):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    return path


def test_a_file_gives_back_every_bit(tmp_path):
    scores = [float(np.float32(0.1)), 1 / 3, 0.0, float("nan"), 1.0]
    path = tmp_path / "scores.csv"
    write_scores(path, make_table(ROWS, scores, ABOUT))
    again = read_scores(path)
    np.testing.assert_array_equal(again.p_live, scores)
    assert [tuple(row) for row in zip(again.path, again.video, again.domain, again.subject, strict=True)] == [
        row[:4] for row in ROWS
    ]
    assert again.live.tolist() == [True, True, False, False, True]
    assert again.attack_type.tolist() == ["", "", "print", "print", ""]
    assert again.part.tolist() == ["test"] * 4 + ["dev"]
    assert again.about == ABOUT


def test_a_video_is_the_mean_of_its_scored_frames():
    table = make_table(ROWS, [0.2, 0.6, 0.1, 0.9, float("nan")], ABOUT).per_video()
    assert table.video.tolist() == ["clip2", "clip1", "clip1", "clip3"]  # in the order of the file
    assert table.domain.tolist() == ["office", "office", "kiosk", "kiosk"]
    np.testing.assert_allclose(table.p_live, [0.4, 0.1, 0.9, np.nan])


def test_a_lost_frame_does_not_count_as_an_attack():
    table = make_table(ROWS[:2], [0.8, float("nan")], ABOUT).per_video()
    assert table.p_live.tolist() == [0.8]


@pytest.mark.parametrize(
    ("column", "value", "word"), [(4, "spoof", "label"), (3, "zoe", "subject"), (6, "dev", "part")]
)
def test_two_clips_of_one_name_are_not_averaged(column, value, word):
    other = ("b/9.png", *ROWS[0][1:])
    other = (*other[:column], value, *other[column + 1 :])
    with pytest.raises(DtdaError, match=f"video clip2 has pictures that differ in {word}"):
        make_table([*ROWS[:2], other], [0.5] * 3, ABOUT).per_video()


def test_a_picture_is_not_in_two_parts():
    with pytest.raises(DtdaError, match=r"b/1\.png is listed more than once"):
        make_table([ROWS[0], (*ROWS[0][:6], "dev")], [0.5, 0.5], ABOUT)


def test_scores_of_other_programs_need_four_columns(tmp_path):
    table = read_scores(_csv(tmp_path, "\ufeffpath,part,label,p_live\nx,test,live,1\ny,test,spoof,\n"))
    assert table.video.tolist() == ["x", "y"]
    assert table.subject.tolist() == ["", ""]
    assert np.isnan(table.p_live[1])
    assert table.about == About()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label,part\nx,live,test\n", "column p_live is missing"),
        ("path,label,part,p_live\nx,1,test,0.5\n", "line 2: label is '1'; it must be live or spoof"),
        ("path,label,part,p_live\nx,live,train,0.5\n", "line 2: part is 'train'; it must be dev or test"),
        ("path,label,part,p_live\nx,live,test,1.5\n", "line 2: p_live is '1.5'; it must be a number from 0 to 1"),
        ("path,label,part,p_live\nx,live,test,nan\n", "line 2: p_live is 'nan'"),
        ("path,label,part,p_live\nx,live,test,high\n", "line 2: p_live is 'high'"),
        ("path,label,part,p_live\nx,live,test\n", "line 2: has more or fewer fields"),
        ('# {"name": "a"}\npath,label,part,p_live\nx,alive,test,0.5\n', "line 3: label is 'alive'"),
        ('# {"colour": 1}\npath,label,part,p_live\nx,live,test,0.5\n', "first line is not that of a score file"),
        ("path,label,part,p_live\n", "holds no scores"),
        ("", "column path is missing"),
    ],
)
def test_wrong_files_are_one_sentence(tmp_path, text, words):
    with pytest.raises(DtdaError) as failure:
        read_scores(_csv(tmp_path, text))
    assert words in str(failure.value)


def test_a_missing_file_and_an_absent_domain_are_named(tmp_path):
    with pytest.raises(DtdaError, match="no such score file"):
        read_scores(tmp_path / "none.csv")
    table = make_table(ROWS, [0.5] * 5, ABOUT)
    with pytest.raises(DtdaError, match="has no domain mars; there are kiosk, office"):
        table.on_domains(["mars"])
    chosen = table.on_domains(["kiosk"])
    assert chosen.path.tolist() == ["a/1.png", "c,\n0.png"]  # test pictures of it, and dev
    assert (chosen.about.targets, chosen.about.history) == (["kiosk"], [])

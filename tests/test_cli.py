import subprocess
import sys
import time

import pytest

from dtda.app import cli
from dtda.core.errors import DtdaError


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert f"dtda {command}" in capsys.readouterr().out


def test_errors_are_one_line_and_status_2(capsys):
    def fail():
        raise DtdaError("x.mp4: no such file; name another.")

    assert cli.report_errors("dtda", fail) == 2
    assert capsys.readouterr().err == "dtda: x.mp4: no such file; name another.\n"


def test_full_disk_is_one_line(capsys):
    def fail():
        raise OSError(28, "No space left on device", "out.csv")

    assert cli.report_errors("dtda", fail) == 2
    assert capsys.readouterr().err == "dtda: out.csv: No space left on device.\n"


def test_interrupt_is_130(capsys):
    def fail():
        raise KeyboardInterrupt

    assert cli.report_errors("dtda", fail) == 130


def test_unknown_command_is_status_2(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["fly"])
    assert stop.value.code == 2


def test_changes_of_a_configuration_may_stand_behind_options(tmp_path, capsys):
    (tmp_path / "a.toml").write_text("student = 'mobile'\n[data]\nmanifests = ['none.csv']\n")
    train = ["train", str(tmp_path / "a.toml")]
    assert cli.main([*train, "seed=1", "--out", "x", "data.manifests=['other.csv']", "optim.epochs=2"]) == 2
    assert "other.csv: no such file" in capsys.readouterr().err
    assert cli.main([*train, "--out", "x", "optim.epochz=2"]) == 2
    assert "optim.epochz" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["optim"], ["--optim.epochs=2"], ["optim.epochs=2", "fly"]])
def test_other_words_behind_options_are_refused(words, tmp_path, capsys):
    (tmp_path / "a.toml").write_text("student = 'mobile'\n[data]\nmanifests = ['none.csv']\n")
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", str(tmp_path / "a.toml"), "--out", "x", *words])
    assert stop.value.code == 2
    assert f"unrecognized arguments: {words[-1]}\n" in capsys.readouterr().err


@pytest.mark.slow
def test_help_is_fast():
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "dtda.app.cli", "--help"], check=True, capture_output=True, timeout=30)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5

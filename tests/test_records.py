"""What lies on disk is believed only where it is what was recorded, and a name in it is never a path."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import written

from ablations.record import directories, form, integrity, results
from ablations.record.integrity import write_json
from core.names import is_name
from run_ablation import main

ROOT = Path(__file__).parents[1]
SMALL = "--network.hidden 8 --network.depth 1 --trainer.batch 8 --steps 4 --eval-every 2".split()
SMALL += ["--compile", "off", "--bc-only"]

PATHS = ("../../x", "../x", "/tmp/planted-by-a-label", "a/b", "a\\b", "..", ".")

pytestmark = pytest.mark.usefixtures("few_samples")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A comparison of two runs, and the same runs of another seed."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.bandits.EVALUATION_SAMPLES", 200)
        patch.setattr("tasks.bandits.KEPT_SAMPLES", 50)
        for name, seeds in (("a", ("0", "1")), ("b", ("2",))):
            assert main(["--policy", "gaussian", "cvae", *SMALL, "--seeds", *seeds, "--out", str(place / name)]) == 0
    return place


@pytest.fixture
def made(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "made")
    return tmp_path / "made"


class TestNames:
    @pytest.mark.parametrize(
        "name", ["../../x", "..", ".", "", "a/b", "/tmp/x", "a\\b", ".hidden", "a\0b", "a\nb", "x" * 300, 3, None]
    )
    def test_what_is_a_path_or_nothing_is_no_name(self, name):
        assert not is_name(name)

    @given(st.text(max_size=8))
    def test_a_name_leads_to_a_directory_below(self, name):
        if is_name(name):
            assert (Path("/base") / name).parent == Path("/base")
            assert os.path.normpath(f"/base/{name}") == f"/base/{name}"

    @pytest.mark.parametrize("name", PATHS)
    @pytest.mark.parametrize("command", ["--join", "--aggregate"])
    def test_a_label_that_is_a_path_writes_nothing(self, name, command, made, tmp_path, capsys):
        for directory in (made / "a", made / "b"):
            run = directory / "gaussian-bc"
            write_json(run / "config.json", {**results.read_config(run), "label": name})
        before = sorted(tmp_path.rglob("*"))
        assert main([command, str(made / "a"), str(made / "b"), "--out", str(tmp_path / "out" / "in")]) == 2
        assert "gaussian-bc/config.json is not that of a run" in capsys.readouterr().err
        assert sorted(tmp_path.rglob("*")) == before

    @pytest.mark.parametrize("name", ["../b/cvae-bc", "/etc", "..", ""])
    def test_a_comparison_that_lists_paths_is_refused_and_nothing_is_read_there(self, name, made, tmp_path, capsys):
        write_json(made / "a" / "comparison.json", {"study": None, "runs": ["gaussian-bc", name]})
        for command in (
            ["--join", str(made / "a"), str(made / "b")],
            ["--aggregate", str(made / "a"), str(made / "b")],
        ):
            assert main([*command, "--out", str(tmp_path / "out")]) == 2
            assert "a/comparison.json is not that of a comparison" in capsys.readouterr().err
        train = ["--policy", "gaussian", "cvae", *SMALL, "--seeds", "0", "1", "--out", str(made / "a")]
        assert main(train) == 2
        assert "its comparison.json cannot be read" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_nothing_is_written_through_a_link_in_the_directory(self, made, tmp_path):
        outside = tmp_path / "outside"
        outside.write_text("mine")
        for name in ("summary.csv", "figure.png", "comparison.json"):
            content = (made / "a" / name).read_bytes()
            (made / "a" / name).unlink()
            if name == "comparison.json":
                (tmp_path / "listed").write_bytes(content)
            (made / "a" / name).symlink_to(tmp_path / "listed" if name == "comparison.json" else outside)
        train = ["--policy", "gaussian", "cvae", *SMALL, "--seeds", "0", "1", "--out", str(made / "a")]
        assert main(train) == 0
        assert outside.read_text() == "mine"
        assert not (made / "a" / "summary.csv").is_symlink()


class TestForm:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            *[("seeds", value) for value in ([], [1, 1], [-1], [True], ["1"], 3, None, [1.5])],
            *[("views", value) for value in ([], [{}], [3], None, [{"label": 1}])],
            *[("names", value) for value in ({}, [], {"policy": 3})],
            *[("interrupted", value) for value in (None, 1, "no")],
            *[("task", value) for value in (None, 3, ["bandit"])],
            *[("diverged", value) for value in (3, [3], [{"seed": "a"}])],
            *[("files", value) for value in ([], {"../x": "0"}, {"a": 3})],
        ],
    )
    def test_what_has_not_the_form_of_a_record_is_named(self, key, value, tmp_path):
        run = written(tmp_path / "run", [[1.0, 2.0]], [[0.1, 0.1]])
        record = results.read_config(run)
        assert form.problem_of_run(record) is None
        assert form.problem_of_run({**record, key: value}) == key
        write_json(run / "config.json", {**record, key: value})
        with pytest.raises(integrity.Damaged, match=f"is not that of a run.*see its {key}"):
            results.read_config(run)

    def test_the_records_of_earlier_versions_are_read(self):
        runs = [path.parent for path in (ROOT / "docs" / "results").rglob("config.json")]
        assert len(runs) > 50
        for run in runs[::5]:
            assert not results.load_run(run).empty
            results.load_training(run)


class TestVerify:
    def test_what_is_whole_is_said_to_be(self, made, capsys):
        assert main(["--verify", str(made / "a"), str(made / "b"), str(made / "a" / "cvae-bc")]) == 0
        said = capsys.readouterr().out
        assert said.splitlines() == [f"{made / 'a'}, {made / 'b'}, {made / 'a' / 'cvae-bc'}: all is as recorded"]

    def test_what_is_damaged_foreign_or_missing_is_named(self, made, capsys):
        a = made / "a"
        samples = a / "gaussian-bc" / "samples.npz"
        samples.write_bytes(samples.read_bytes()[:-9])
        (a / "gaussian-bc" / "checkpoint.pt").unlink()
        (a / "gaussian-bc" / "notes.md").write_text("mine")
        shutil.copytree(a / "gaussian-bc", a / "another")
        (a / ".cvae-bc.0.progress").write_bytes(b"half of it")
        config = a / "cvae-bc" / "config.json"
        config.write_text(config.read_text().replace('"interrupted": false', '"interrupted": true'))
        assert main(["--verify", str(a)]) == 1
        said = set(capsys.readouterr().out.splitlines())
        assert said == {
            f"damaged: {samples}: its checksum differs",
            f"missing: {a / 'gaussian-bc' / 'checkpoint.pt'}",
            f"foreign: {a / 'gaussian-bc' / 'notes.md'}",
            f"foreign: {a / 'another'}",
            f"damaged: {a / '.cvae-bc.0.progress'}: it cannot be read",
            f"damaged: {config}: is damaged: its checksum differs; remove {a / 'cvae-bc'} and repeat",
            f"{a}: not all is as recorded",
        }

    def test_what_is_no_run_is_refused(self, tmp_path, refused):
        assert "is not the directory of a run or comparison" in refused("--verify", str(tmp_path))
        assert "--steps: --verify reads what is there" in refused("--verify", str(tmp_path), "--steps", "3")

    def test_a_run_in_the_place_of_another_is_foreign(self, made, capsys):
        shutil.rmtree(made / "a" / "cvae-bc")
        shutil.copytree(made / "a" / "gaussian-bc", made / "a" / "cvae-bc")
        assert main(["--verify", str(made / "a")]) == 1
        assert f"foreign: {made / 'a' / 'cvae-bc'} holds a run called gaussian-bc" in capsys.readouterr().out


def test_equal_runs_have_equal_checksums(whole, tmp_path):
    again = tmp_path / "again"
    assert main(["--policy", "gaussian", "cvae", *SMALL, "--seeds", "0", "1", "--out", str(again)]) == 0
    for label in ("gaussian-bc", "cvae-bc"):
        one, other = (json.loads((place / label / "config.json").read_text()) for place in (whole / "a", again))
        assert one["checksum"] == other["checksum"]
        assert one["files"].keys() == {"metrics.csv", "training.csv", "log.csv", "samples.npz", "checkpoint.pt"}


def test_settings_hold_the_names_of_parts_beside_their_options():
    """The two share a key before options are flat: one hid the other, and runs of other parts seemed the same."""
    diffusion, gaussian = (
        {"names": {"policy": name}, "options": {"policy": {"T": 5}}, "steps": 3} for name in ("diffusion", "gaussian")
    )
    assert results.settings(diffusion) == {"policy": "diffusion", "policy.T": "5", "steps": "3"}
    assert results.differences(gaussian, diffusion, ["names"]) == "policy (gaussian, not diffusion)"


@pytest.mark.usefixtures("few_samples")
@pytest.mark.parametrize("policies", ["gaussian", "gaussian cvae"])
def test_what_is_whole_is_shown_from_a_disk_that_is_read_only(policies, tmp_path, monkeypatch, capsys):
    small = "--bc-only --network.hidden 8 --network.depth 1 --trainer.batch 8 --steps 2 --compile off --seeds 0 1"
    command = ["--policy", *policies.split(), *small.split(), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (tmp_path / "out").rglob("*.*")}
    monkeypatch.setattr(directories.os, "access", lambda path, mode: mode != os.W_OK)
    assert main(command) == 0
    again = capsys.readouterr()
    assert again.out == printed
    assert "is read-only" in again.err
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (tmp_path / "out").rglob("*.*")}

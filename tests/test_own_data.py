"""`file:PATH`: one set in every form is the same to training; what the user says of it; no simulator is needed."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from own_builders import FORMS, arrow, episodes, episodic, flat, hdf5, npz, parquet

from core.options import OptionError
from run_ablation import main
from tasks import make_task
from tasks.own.config import FileConfig
from tasks.own.held_out import discounted_returns
from tasks.own.task import digest


def under(path, **said):
    return make_task(f"file:{path}").under(FileConfig(**said))


def written(form, folder, of):
    write, needs = FORMS[form]
    for package in needs:
        pytest.importorskip(package)
    return write(folder, of)


@pytest.mark.parametrize("form", FORMS)
def test_transitions_and_split_are_the_same_in_every_form(tmp_path, form):
    of = episodes()
    expected = flat(of)
    task = make_task(f"file:{written(form, tmp_path, of)}")
    data = task.data()
    for key in ("observations", "actions", "rewards", "next_observations", "terminals"):
        np.testing.assert_array_equal(getattr(data, key), expected[key])
    assert data.begins.tolist() == [12 * number for number in range(8)]
    assert task.split().apart.tolist() == list(range(24, 36))
    assert digest(data) == digest(make_task(f"file:{npz(tmp_path, of)}").data())


#: of each evaluation, then of the last alone
ALWAYS, LAST = {"energy_distance", "bc_loss", "q_data", "q_policy"}, {"precision", "recall", "fqe", "fqe_data"}
TRAINED = "--task.fqe-steps 2 --preset td3+bc iql diffusion-ql --steps 3 --seeds 0 --network.hidden 8 --trainer.batch 8"


def numbers(path, out, more=TRAINED):
    assert main([*f"--task file:{path} {more}".split(), "--out", str(out)]) == 0
    tables = [pd.read_csv(file) for file in sorted(out.rglob("metrics.csv"))]
    assert len(tables) == (3 if more == TRAINED else 1)
    return pd.concat(tables).drop(columns="task").to_csv()


@pytest.mark.slow
def test_every_form_trains_to_the_same_numbers_without_a_simulator(tmp_path):
    of = episodes()
    found = {form: numbers(written(form, tmp_path, of), tmp_path / f"out {form}") for form in FORMS}
    assert len(set(found.values())) == 1


def test_two_forms_train_to_the_same_numbers_without_a_simulator(tmp_path):
    pytest.importorskip("h5py")
    of = episodes()
    one = "--preset td3+bc --task.fqe-steps 2 --steps 2 --seeds 0 --network.hidden 8 --trainer.batch 8"
    assert numbers(npz(tmp_path, of), tmp_path / "a", one) == numbers(episodic(tmp_path, of), tmp_path / "b", one)
    assert set(pd.read_csv(tmp_path / "a" / "metrics.csv")["metric"]) == ALWAYS | LAST


def test_a_class_with_a_density_has_the_likelihood_of_what_is_held_out(tmp_path):
    path, out = npz(tmp_path, episodes()), tmp_path / "out"
    command = f"--task file:{path} --task.fqe-steps 0 --policy gaussian --bc-only --steps 2 --eval-every 1 --seeds 0 1"
    assert main([*command.split(), "--network.hidden", "8", "--out", str(out)]) == 0
    found = pd.read_csv(out / "metrics.csv").pivot(index=["seed", "step"], columns="metric", values="value")
    # the Gaussian's own loss is its likelihood
    np.testing.assert_allclose(found["nll"], found["bc_loss"], rtol=1e-5)
    assert set(found) == {"energy_distance", "bc_loss", "nll", "precision", "recall"}
    assert found.loc[(slice(None), 1), "precision"].isna().all()


SMALL = "--steps 2 --seeds 0 --network.hidden 8 --network.depth 1 --policy.T 2 --task.fqe-steps 2".split()


def test_the_page_leads_from_a_file_to_a_policy_that_acts(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parent.parent / "docs" / "own-data.md").read_text()
    blocks = [part.split("\n\n")[0] for part in page.split("\n\n    ")[1:]]
    path, _ = wide(tmp_path)
    monkeypatch.chdir(tmp_path)
    describe, train = (line.partition("#")[0].split()[2:] for line in blocks[0].replace("PATH", str(path)).splitlines())
    assert main(describe) == 0
    assert main([*train, *SMALL]) == 0
    assert {"figure.png", "summary.csv"} <= {file.name for file in (tmp_path / "runs" / "mine").iterdir()}
    capsys.readouterr()
    exec(textwrap.dedent("    " + blocks[1]).partition('"')[2].rpartition('"')[0])
    numbers_shown = capsys.readouterr().out.strip(" []\n").split()
    assert len(numbers_shown) == 2
    assert np.isfinite(np.array(numbers_shown, float)).all()


def test_returns_are_discounted_within_their_episodes(tmp_path):
    of = episodes(2, 3)
    found = discounted_returns(make_task(f"file:{npz(tmp_path, of)}").data(), 0.5)
    expected = [one["rewards"] @ [1, 0.5, 0.25] for one in of]
    np.testing.assert_allclose(found[[0, 3]], expected, rtol=1e-6)
    np.testing.assert_allclose(found[[2, 5]], [one["rewards"][-1] for one in of], rtol=1e-6)


def renamed(of, names, drop=()):
    return {names.get(key, key): array for key, array in flat(of).items() if key not in drop}


def save(path, content):
    np.savez(path, **content)
    return path


def test_columns_have_the_names_the_user_gives_them(tmp_path):
    of = episodes()
    names = {"observations": "x", "next_observations": "y", "actions": "u", "rewards": "r", "terminals": "end"}
    path = save(tmp_path / "a.npz", renamed(of, names))
    said = ",".join(f"{field}={name}" for field, name in names.items())
    assert digest(under(path, keys=said).data()) == digest(make_task(f"file:{npz(tmp_path, of)}").data())
    with pytest.raises(OptionError, match=r"has no observations; it has end, r, timeouts, u, x, y; say which"):
        make_task(f"file:{path}").data()


def test_names_in_common_use_are_found_and_said(tmp_path):
    path = save(
        tmp_path / "a.npz", renamed(episodes(), {"observations": "obs", "actions": "acts", "terminals": "done"})
    )
    data = make_task(f"file:{path}").data()
    assert "took observations from obs, actions from acts, terminals from done" in data.notes
    assert any("done is read as the end of the task" in note for note in data.notes)


def test_columns_are_joined(tmp_path):
    of = episodes()
    whole = flat(of)
    content = {f"x_{k}": whole["observations"][:, k] for k in (3, 0, 1, 2)}
    content |= {"u1": whole["actions"][:, :1], "u2": whole["actions"][:, 1], "rewards": whole["rewards"]}
    path = save(tmp_path / "a.npz", {**content, "done": whole["terminals"], "n": whole["next_observations"]})
    data = under(path, keys="observations=x_*,actions=u1+u2,next_observations=n").data()
    np.testing.assert_array_equal(data.observations, whole["observations"])
    np.testing.assert_array_equal(data.actions, whole["actions"])


def test_a_step_without_a_next_observation_is_left_out_unless_it_is_terminal(tmp_path):
    path = save(tmp_path / "a.npz", renamed(episodes(4, 5), {}, drop=("next_observations",)))
    data = make_task(f"file:{path}").data()
    whole = flat(episodes(4, 5))
    kept = np.setdiff1d(np.arange(20), [9, 19])
    np.testing.assert_array_equal(data.rewards, whole["rewards"][kept])
    inner = ~data.terminals
    np.testing.assert_array_equal(data.next_observations[inner], whole["next_observations"][kept][inner])
    assert data.begins.tolist() == [0, 5, 9, 14]


def test_episodes_are_told_by_their_number(tmp_path):
    drop = ("next_observations", "timeouts")
    content = {**renamed(episodes(4, 5), {}, drop), "episode_index": np.repeat([7, 7, 3, 9], 5)}
    assert make_task(f"file:{save(tmp_path / 'a.npz', content)}").data().begins.tolist() == [0, 5, 9, 14]


def test_what_there_is_none_of_can_be_said(tmp_path):
    path = save(tmp_path / "a.npz", renamed(episodes(), {}, drop=("rewards", "terminals")))
    data = under(path, keys="rewards=none,terminals=none").data()
    assert not data.rewards.any()
    assert not data.terminals.any()
    assert {"no rewards: all are 0", "no terminals: all are 0"} <= set(data.notes)


def test_a_folder_and_a_pattern_are_read_in_natural_order(tmp_path):
    of = episodes()
    for number, one in enumerate(of):
        np.savez(tmp_path / f"episode_{number + 5}.npz", **flat([one]))
    (tmp_path / "README.md").write_text("not data")
    whole = make_task(f"file:{npz(tmp_path.parent, of)}").data()
    assert digest(make_task(f"file:{tmp_path}").data()) == digest(whole)
    assert len(make_task(f"file:{tmp_path}/episode_?.npz").data().begins) == 5


def test_integers_of_a_table_are_observations_and_discrete_actions_are_refused(tmp_path):
    pytest.importorskip("pyarrow")
    of = episodes()
    for one in of:
        one["observations"] = (10 * one["observations"]).astype(np.int16)
    assert make_task(f"file:{parquet(tmp_path, of)}").data().observations.dtype == np.float32
    for one in of:
        one["actions"] = one["actions"].astype(np.int64)
    with pytest.raises(OptionError, match="actions holds int64, expected floating-point numbers"):
        make_task(f"file:{parquet(tmp_path, of)}").data()


def wide(folder, of=None):
    of = of or episodes()
    for one in of:
        one["actions"] = 3 * one["actions"]
    return npz(folder, of), flat(of)["actions"]


def test_bounds_come_from_the_data_or_the_user(tmp_path):
    path, actions = wide(tmp_path)
    task = make_task(f"file:{path}")
    data = task.data()
    low, high = task.recipe.box
    np.testing.assert_array_equal(low, actions.min(0))
    np.testing.assert_allclose((high + low) / 2 + (high - low) / 2 * data.actions, actions, atol=1e-6)
    assert any("their bounds are taken from the data" in note for note in data.notes)
    given = under(path, bounds="-4:4")
    np.testing.assert_allclose(4 * given.data().actions, actions, atol=1e-6)
    assert not given.data().notes
    with pytest.raises(OptionError, match="expected it in the declared box"):
        under(path, bounds="-1:1,-4:4").data()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"keys": "observations"}, "names no column"),
        ({"keys": "obs=x"}, "unknown 'obs', choose from observations"),
        ({"keys": "actions=none"}, "actions cannot be none"),
        ({"keys": "actions=u,actions=v"}, "named twice; join columns as actions=u"),
        ({"keys": "actions=u"}, "has no u, which --task.keys names for actions; it has actions, "),
        ({"bounds": "2"}, "is no LOW:HIGH"),
        ({"bounds": "1:-1"}, "each LOW below its HIGH"),
        ({"bounds": "-1:1,-1:1,-1:1"}, "has 3 pairs, and actions have 2 columns"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(tmp_path, said, why):
    path = npz(tmp_path, episodes(2))
    with pytest.raises(OptionError, match=why) as refusal:
        under(path, **said).data()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("place", ["nowhere.npz", "empty", "text.npz", "*.parquet"])
def test_a_place_without_data_is_one_line(tmp_path, place):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("observations,actions")
    with pytest.raises(OptionError) as refusal:
        make_task(f"file:{tmp_path / place}").data()
    assert str(tmp_path / place) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_parts_of_other_widths_are_refused(tmp_path):
    for name, width in (("a", 4), ("b", 5)):
        np.savez(tmp_path / f"{name}.npz", **flat(episodes(2, obs_dim=width)))
    with pytest.raises(OptionError, match="observations of table 1 has 5 columns, of the first 4"):
        make_task(f"file:{tmp_path}").data()


def test_lists_of_unlike_length_missing_values_and_words_are_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    whole = flat(episodes(2))
    sound = {key: list(array) for key, array in whole.items()}
    odd = {
        "has 3 numbers, the first has 4": {"observations": [*sound["observations"][:-1], [1.0, 2, 3]]},
        "misses 1 values": {"rewards": [None, *sound["rewards"][1:]]},
        "rewards holds string": {"rewards": ["x"] * 24},
    }
    for why, changes in odd.items():
        files.write_table(pa.table({**sound, **changes}), tmp_path / "own.parquet")
        with pytest.raises(OptionError, match=why):
            make_task(f"file:{tmp_path / 'own.parquet'}").data()


def test_a_table_of_equal_values_that_declares_more_than_it_holds_is_refused(tmp_path):
    """Millions of equal rows take a few hundred bytes."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    count = 3_000_000
    column = pa.array(np.zeros(count, np.float32))
    made = pa.table({key: column for key in ("observations", "actions", "rewards", "terminals")})
    files.write_table(made, tmp_path / "own.parquet", row_group_size=count)
    with pytest.raises(OptionError, match="declares"):
        make_task(f"file:{tmp_path / 'own.parquet'}").data()


@pytest.mark.parametrize("write", [parquet, arrow])
def test_a_missing_package_is_a_line_with_the_command(tmp_path, monkeypatch, write):
    pytest.importorskip("pyarrow")
    path = write(tmp_path, episodes(2))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(OptionError, match=r"needs pyarrow; pip install pyarrow") as refusal:
        make_task(f"file:{path}").data()
    assert "\n" not in str(refusal.value)


def test_a_single_episode_holds_out_its_end(tmp_path):
    task = make_task(f"file:{npz(tmp_path, episodes(1, 40))}")
    assert task.split().apart.tolist() == [36, 37, 38, 39]
    assert len(task.dataset()) == 36


def test_without_simulator_and_with_nothing_held_out_nothing_judges(tmp_path):
    task = under(npz(tmp_path, episodes()), held_out=0.0)
    with pytest.raises(OptionError, match=r"no policy can be evaluated; use --task\.held-out"):
        task.prepare()


def test_help_beside_a_file_opens_nothing(capsys):
    with pytest.raises(SystemExit):
        main(["--task", "file:/nowhere/x.npz", "--help"])
    assert "--task.keys" in capsys.readouterr().out


@pytest.mark.parametrize("write", [npz, hdf5])
def test_the_command_reads_describes_and_exits_with_2_in_one_line(tmp_path, capsys, write):
    if write is hdf5:
        pytest.importorskip("h5py")
    path = write(tmp_path, episodes())
    assert main(["--describe", "--task", f"file:{path}"]) == 0
    assert "held out      12 transitions of 1 of 8 episodes" in capsys.readouterr().out
    assert main(["--task", f"file:{path}", "--task.keys", "actions=nothing", "--out", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) <= 2

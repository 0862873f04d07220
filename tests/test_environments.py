"""Environments that data ask for: registered ones with checked arguments, and no code, file or module of the data's."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.options import OptionError
from tasks import environments, make_task

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")


def described(env_id="Hopper-v5", **changes) -> dict:
    told = json.loads(gymnasium.spec(env_id).to_json())
    told.update(changes)
    return told


def malicious(marker) -> dict[str, dict]:
    """Descriptions that would run a command or read a file, were they believed."""
    run = {"command": f"touch {marker}"}
    wrapper = {"name": "x", "entry_point": "os:system", "kwargs": run}
    return {
        "entry point": described(entry_point="os:system", kwargs=run),
        "entry point under an id of its own": described(id="Mine-v0", entry_point="os:system", kwargs=run),
        "vector entry point": described(vector_entry_point="os:system", kwargs=run),
        "wrapper": described(additional_wrappers=[wrapper]),
        "module in the id": described(id="antigravity:Hopper-v5"),
        "path in the id": described(id="../../Hopper-v5"),
        "an id that is a list": described(id=["Hopper-v5"]),
        "an entry point that starts like a known one": described(entry_point="gymnasium_evil:run"),
        "a file of a model": described(kwargs={"xml_file": "/etc/passwd"}),
        "a path in an argument": described(kwargs={"reset_noise_scale": "../x"}),
        "an argument it has not": described(kwargs={"command": "x"}),
        "not even a description": {"id": None},
    }


NAMES = list(malicious("x"))


@pytest.mark.parametrize("name", NAMES)
def test_what_would_run_code_is_refused_in_a_line(name, tmp_path):
    with pytest.raises(OptionError) as refusal:
        environments.read("metadata.json: env_spec", json.dumps(malicious(tmp_path / "marker")[name]))
    assert str(refusal.value).startswith("metadata.json: env_spec: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000, '{"id": "Hopper-v5", "kwargs": []}'[:-1]])
def test_what_is_no_description_is_refused_in_a_line(text):
    with pytest.raises(OptionError) as refusal:
        environments.read("f", text)
    assert "\n" not in str(refusal.value)


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Writes a small set of Minari whose description of the environment, or of its spaces, can be replaced."""
    minari = pytest.importorskip("minari")
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    rng = np.random.default_rng(0)

    def write(drop=(), **changes) -> str:
        episode = EpisodeBuffer(
            observations=rng.standard_normal((41, 11)),
            actions=rng.uniform(-1, 1, (40, 3)).astype(np.float32),
            rewards=rng.standard_normal(40),
            terminations=np.zeros(40, bool),
            truncations=np.arange(40) == 39,
        )
        with pytest.warns(UserWarning, match="eval_env"):
            minari.create_dataset_from_buffers("test/evil-v0", [episode], env=gymnasium.make("Hopper-v5"))
        file = tmp_path / "minari" / "test" / "evil-v0" / "data" / "metadata.json"
        told = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({key: value for key, value in told.items() if key not in drop}))
        return "minari:test/evil-v0"

    return write


@pytest.mark.parametrize("key", ["env_spec", "eval_env_spec"])
@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_that_is_named_runs_nothing(name, key, dataset, tmp_path):
    marker = tmp_path / "marker"
    task = make_task(dataset(**{key: json.dumps(malicious(marker)[name])}))
    with pytest.raises(OptionError):
        task.prepare()
    assert not marker.exists()


@pytest.mark.parametrize("space", ["observation_space", "action_space"])
def test_nor_does_one_that_leaves_out_its_spaces(space, dataset, tmp_path):
    """Minari would make the environment to learn them."""
    marker = tmp_path / "marker"
    name = dataset((space,), env_spec=json.dumps(malicious(marker)["entry point"]))
    with pytest.raises(OptionError, match=space):
        make_task(name).prepare()
    assert not marker.exists()


def test_a_sound_one_is_made_as_described(dataset):
    task = make_task(dataset(eval_env_spec=json.dumps(described(kwargs={"reset_noise_scale": 0.25}))))
    environment = task.require_simulator().make()
    assert environment.unwrapped._reset_noise_scale == 0.25
    assert environment.spec.max_episode_steps == 1000
    assert task.physics["arguments"] == '{"reset_noise_scale": 0.25}'


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        ("PointMaze_UMaze-v3", {"maze_map": [[1, 1, 1], [1, 0, 1], [1, 1, 1]]}),
        ("AntMaze_UMaze-v4", {}),
        ("FrankaKitchen-v1", {"tasks_to_complete": ["microwave"]}),
        ("AdroitHandPen-v1", {}),
        ("Pendulum-v1", {"g": 9.0}),
    ],
)
def test_environments_of_known_packages_keep_their_arguments(env_id, options):
    robotics = pytest.importorskip("gymnasium_robotics")
    gymnasium.register_envs(robotics)
    told = environments.read("f", json.dumps({**described(env_id), "kwargs": options}))
    assert (told.env_id, dict(told.options)) == (env_id, options)
    assert told.plugin == (None if env_id.startswith("Pendulum") else "gymnasium_robotics")

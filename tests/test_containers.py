"""Files of data that are not what they seem: pipes, links, storage elsewhere, sizes that nothing backs, pickles."""

from __future__ import annotations

import io
import json
import os
import zipfile

import numpy as np
import pytest
from d4rl_builders import arrays, save

from tasks import containers
from tasks.d4rl_reader import read
from tasks.validation import BadFile, of_size

h5py = pytest.importorskip("h5py")


def without_rewards(path):
    return save(path, {key: array for key, array in arrays().items() if key != "rewards"})


def external_link(path):
    save(path.with_name("other.h5"), {"x": np.full(15, 7, "f4")})
    with h5py.File(without_rewards(path), "a") as file:
        file["rewards"] = h5py.ExternalLink("other.h5", "/x")


def soft_link(target):
    def make(path):
        with h5py.File(without_rewards(path), "a") as file:
            file["rewards"] = h5py.SoftLink(target)

    return make


def external_storage(path):
    other = path.with_name("any.txt")
    other.write_bytes(b"A" * 60)
    with h5py.File(without_rewards(path), "a") as file:
        file.create_dataset("rewards", (15,), "f4", external=[(str(other), 0, 60)])


def virtual(path):
    with h5py.File(without_rewards(path), "a") as file:
        layout = h5py.VirtualLayout((15,), "f4")
        layout[:] = h5py.VirtualSource("missing.h5", "x", (15,))
        file.create_virtual_dataset("rewards", layout, fillvalue=0)


def declared(count):
    def make(path):
        with h5py.File(path, "w") as file:
            for key, shape in (("observations", (count, 11)), ("actions", (count, 3)), ("rewards", (count,))):
                file.create_dataset(key, shape, "f4", chunks=(1000, *shape[1:]))
            file.create_dataset("terminals", (count,), "?", chunks=(1000,))

    return make


def bomb(path):
    """Two gigabytes of zeros in a file of two megabytes."""
    with h5py.File(without_rewards(path), "a") as file:
        made = file.create_dataset("rewards", (1 << 29,), "f4", chunks=(1 << 24,), compression="gzip")
        made[: 1 << 24] = 0


def circle(path):
    with h5py.File(without_rewards(path), "a") as file:
        group = file.create_group("a")
        group["back"] = group


def in_a_group_far_down(path):
    with h5py.File(save(path, arrays()), "a") as file:
        file["a/b/x"] = h5py.ExternalLink("/etc/passwd", "/")


MADE = {
    "external link": (external_link, "link to elsewhere"),
    "link to nothing": (soft_link("/nowhere"), "link to elsewhere"),
    "link to itself": (soft_link("/rewards"), "link to elsewhere"),
    "link in a group": (in_a_group_far_down, "a/b/x is a link to elsewhere"),
    "external storage": (external_storage, "keeps its data in other files"),
    "virtual": (virtual, "keeps its data in other files"),
    "10^12 steps": (declared(10**12), "declares"),
    "10^8 steps": (declared(10**8), "declares"),
    "compressed zeros": (bomb, "declares"),
    "a circle of groups": (circle, "in a circle"),
    "a pipe": (os.mkfifo, "is no plain file"),
}


@pytest.mark.parametrize("name", MADE)
def test_hdf5_that_reads_elsewhere_or_without_end_is_refused(tmp_path, name):
    make, said = MADE[name]
    path = tmp_path / "file.hdf5"
    make(path)
    with pytest.raises(BadFile, match=said) as refusal:
        read(path, 11, 3)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_numbers_beyond_float32_are_refused(tmp_path):
    rewards = arrays()["rewards"].astype("f8")
    rewards[7] = 1e300
    with pytest.raises(BadFile, match=r"rewards\[7\] is 1e\+300; expected numbers within float32"):
        read(save(tmp_path / "file.hdf5", {**arrays(), "rewards": rewards}), 11, 3)


class Marker:
    """Unpickled, it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def npz_with(path, name, content: bytes):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.npy", content)


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "file.npz", x=np.array([Marker(tmp_path / "marker")], object))
    with pytest.raises(BadFile, match="unpickled"):
        containers.npz(tmp_path / "file.npz")
    assert not (tmp_path / "marker").exists()


def test_an_array_that_declares_more_than_it_holds_is_refused(tmp_path):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    npz_with(tmp_path / "file.npz", "x", stream.getvalue() + bytes(100))
    with pytest.raises(BadFile, match="declares shape"):
        containers.npz(tmp_path / "file.npz")


def test_compressed_gigabytes_are_refused(tmp_path):
    path = tmp_path / "file.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        for _ in range(128):
            member.write(bytes(1 << 20))
    with pytest.raises(BadFile, match="declares"):
        containers.npz(path)


def test_a_sound_npz_is_read_as_it_was_written(tmp_path):
    made = {"x": np.arange(6.0).reshape(2, 3), "y": np.array([True]), "z": np.asfortranarray(np.eye(3))}
    np.savez_compressed(tmp_path / "file.npz", **made)
    got = containers.npz(tmp_path / "file.npz")
    assert set(got) == set(made)
    for key in made:
        np.testing.assert_array_equal(got[key], made[key])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 200_000, b"3"])
def test_json_that_is_no_object_is_one_line(tmp_path, content):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(BadFile, match="cannot be read as JSON") as refusal:
        containers.json_object(tmp_path / "file.json")
    assert "\n" not in str(refusal.value)


def test_a_json_object_is_read(tmp_path):
    (tmp_path / "file.json").write_text(json.dumps({"a": [1, None]}))
    assert containers.json_object(tmp_path / "file.json") == {"a": [1, None]}


def test_what_does_not_fit_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr("tasks.validation.free_bytes", lambda: 4000)
    of_size("file", 1000, 1000)
    with pytest.raises(BadFile, match=r"holds 1\.001 kB of data; at most 1 kB fit"):
        of_size("file", 1001, 1001)

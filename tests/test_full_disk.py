"""A disk that fills while a checkpoint is written: the cause is said, and nothing of it stays."""

from __future__ import annotations

import errno
import resource

import pytest
import torch

from trainers import checkpoint


@pytest.fixture
def full_at_64k():
    """No file grows beyond 64 kB, as on a disk that is full then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("numbers", [17_000, 10**6])
def test_the_cause_is_said_and_the_file_before_stays(numbers, tmp_path, full_at_64k):
    path = tmp_path / "checkpoint.pt"
    checkpoint.write({"weights": torch.ones(3)}, path)
    with pytest.raises(OSError, match="File too large") as raised:
        checkpoint.write({"weights": torch.zeros(numbers)}, path)
    assert raised.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == [path]
    torch.testing.assert_close(checkpoint.read(path, sealed=True)["weights"], torch.ones(3))

"""Weights that share memory are saved once and loaded exactly."""

import pytest
import torch
from model_folders import load
from safetensors.torch import load_file

from ostinato.record.digests import digest_weights
from ostinato.training.tensor_files import save_tensors, with_tied_tensors


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_tied_weights_are_saved_once_and_loaded_exactly(name, tmp_path):
    model, _ = load(tmp_path, name)
    save_tensors(model.state_dict(), tmp_path / "saved")
    saved = load_file(tmp_path / "saved")
    assert len(saved) < len(model.state_dict())
    before = digest_weights(model.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.load_state_dict(with_tied_tensors(model, saved))
    assert digest_weights(model.state_dict()) == before


def test_views_of_one_memory_and_strided_tensors_are_saved(tmp_path):
    memory = torch.arange(12.0)
    tensors = {
        "all": memory,
        "half": memory[:6],
        "turned": memory.view(3, 4).T,
        "same": memory,
    }
    save_tensors(tensors, tmp_path / "saved")
    saved = load_file(tmp_path / "saved")
    assert all(torch.equal(saved[name], tensors[name]) for name in saved)
    assert set(saved) == {"all", "half", "turned"}

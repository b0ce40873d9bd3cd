"""Read pickles: tensors only, and no more data than the size of the file."""

import pickle
import zipfile

import pytest
import torch

from animdiff_cli.errors import IntegrityError
from animdiff_cli.weights.files import open_weights
from animdiff_cli.weights.pickles import read_pickle


class Payload:
    def __reduce__(self):
        return (print, ("this must never be printed",))


@pytest.mark.parametrize("zipped", [True, False])
def test_both_containers_are_read_and_unwrapped(tmp_path, zipped):
    weights = {"a.b": torch.ones(2), "note": "text"}
    torch.save({"epoch": 1, "state_dict": weights}, tmp_path / "x.ckpt", _use_new_zipfile_serialization=zipped)
    read = read_pickle(tmp_path / "x.ckpt")
    assert (read.tensors.keys(), read.others, read.is_zip) == ({"a.b"}, ("note",), zipped)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, capsys, zipped):
    torch.save({"a": Payload()}, tmp_path / "evil.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(IntegrityError, match="could run code") as caught:
        read_pickle(tmp_path / "evil.ckpt")
    assert caught.value.exit_code == 5 and ".safetensors" in caught.value.hint
    assert capsys.readouterr().out == ""


def test_a_plain_pickle_with_code_is_refused(tmp_path):
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"a": Payload()}))
    with pytest.raises(IntegrityError):
        read_pickle(tmp_path / "evil.pt")


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    assert (tmp_path / "bomb.ckpt").stat().st_size < 100_000
    with pytest.raises(IntegrityError, match="would unpack to 50000000"):
        read_pickle(tmp_path / "bomb.ckpt")


def test_a_tensor_larger_than_its_file_is_refused(tmp_path):
    torch.save({"a": torch.ones(1).expand(1 << 40)}, tmp_path / "wide.ckpt")
    with pytest.raises(IntegrityError, match="claims tensors of 4398046511104"):
        read_pickle(tmp_path / "wide.ckpt")


def test_a_text_file_named_as_weights_is_refused(tmp_path):
    (tmp_path / "page.ckpt").write_text("<html>please log in</html>")
    with pytest.raises(IntegrityError, match="not a readable torch file"):
        read_pickle(tmp_path / "page.ckpt")


def test_nested_entries_are_named_by_their_path(tmp_path):
    torch.save(
        {"image_proj": {"w": torch.ones(1)}, "ip_adapter": {"1.to_k_ip.weight": torch.ones(1)}}, tmp_path / "i.bin"
    )
    assert read_pickle(tmp_path / "i.bin").tensors.keys() == {"image_proj.w", "ip_adapter.1.to_k_ip.weight"}


def test_views_are_read_as_they_were_saved(tmp_path):
    whole = torch.arange(24.0).reshape(4, 6)
    saved = {"whole": whole, "rows": whole[1:3], "turned": whole.T, "half": whole.half(), "one": torch.tensor(7)}
    torch.save(saved, tmp_path / "views.ckpt")
    torch.save({name: saved[name] for name in ("whole", "rows", "one")}, tmp_path / "plain.ckpt")
    for name in ("views.ckpt", "plain.ckpt"):
        read = {key: tensor.read() for key, tensor in open_weights(tmp_path / name).tensors.items()}
        assert all(torch.equal(tensor, saved[key]) and tensor.dtype == saved[key].dtype for key, tensor in read.items())
    assert open_weights(tmp_path / "plain.ckpt").tensors["rows"].rows(1, 2).tolist() == [[12, 13, 14, 15, 16, 17]]

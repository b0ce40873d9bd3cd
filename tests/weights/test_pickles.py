"""Read pickles: tensors only, and no more data than the size of the file."""

import io
import pickle
import pickletools
import random
import sys
import types
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from animdiff_cli.errors import AnimdiffError, IntegrityError
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


STRING, MARK, END = b"X", b"(", b"."


def text(value):
    return STRING + len(value).to_bytes(4, "little") + value.encode()


def tensor(kind="FloatStorage", *, count=4, offset=0, size=4, stride=1, metadata=b""):
    """Opcodes of one tensor of rank 1 in storage 0."""
    number = lambda value: b"J" + value.to_bytes(4, "little", signed=True)  # noqa: E731
    storage = MARK + text("storage") + f"ctorch\n{kind}\n".encode() + text("0") + text("cpu") + number(count) + b"tQ"
    shape = MARK + number(size) + b"t" + MARK + number(stride) + b"t"
    hooks = b"\x89ccollections\nOrderedDict\n)R" + metadata
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + shape + hooks + b"tR"


def zipped(path, opcodes, *, data=bytes(16), byteorder=b"little"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + opcodes)
        archive.writestr("archive/byteorder", byteorder)
        archive.writestr("archive/data/0", data)
        archive.writestr("archive/version", "3\n")
    return path


def entry(value, name="emb_params"):
    return b"}" + text(name) + value + b"s."


SHARED = (
    tensor()
    + b"q\x00"
    + b"".join(
        b"}(" + text("a") + b"h" + bytes([n]) + text("b") + b"h" + bytes([n]) + b"uq" + bytes([n + 1])
        for n in range(40)
    )
)
FLAG = b"}" + text("neg") + b"\x88s"


@pytest.mark.parametrize(
    ("opcodes", "why"),
    [
        (b"}q\x00" + text("a") + b"h\x00s" + text("w") + tensor() + b"s.", "contain themselves"),
        (b"}q\x00" + text("state_dict") + b"h\x00s.", "contain themselves"),
        ((b"}" + text("a")) * 500 + tensor() + b"s" * 500 + b".", "too deeply"),
        (SHARED + b".", "too deeply"),
        (b"}" + tensor() + tensor() + b"s.", "neither text nor a number"),
        (entry(b"cbuiltins\nbytearray\n(\x8a\x05\x00\x5e\xd0\xb2\x00tR"), "no tensors"),
        (b"c_codecs\nencode\n(" * 30 + text("a") + (text("hex") + b"tR") * 30 + b".", "no tensors"),
        (entry(tensor("ComplexFloatStorage", count=2, size=2)), "ComplexFloat"),
        (entry(tensor("QInt8Storage")), "QInt8"),
        (entry(b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n)R"), "without data"),
        (entry(b"ctorch._utils\n_rebuild_sparse_tensor\n)R"), "sparse"),
        (entry(tensor(count=400, size=400)), "not in the file"),
        (entry(tensor(offset=1)), "not in the file"),
        (entry(tensor(stride=2)), "not in the file"),
        (entry(tensor(size=-1)), "not described"),
        (entry(tensor(offset=-1)), "not described"),
        (b"r\xff\xff\xff\x7f.", "empty stack"),
        (b"X\xff\xff\xff\x7fabc.", "ends within"),
        (b"\x8b\xff\xff\xff\x7f.", "too long"),
        (b"N" * 1_000_001, "opcodes"),
        (entry(b"cos\nsystem\n" + text("true") + b"\x85R"), "could run code"),
        (entry(tensor(count=3, size=3)), "not in the file"),
        (entry(tensor()).replace(b"emb_params", b"emb\xffparams"), "not UTF-8"),
        (entry(tensor()).replace(b"OrderedDict", b"Ordered\xffict"), "not UTF-8"),
        (entry(tensor()).replace(b"_v2\n", b"\n"), "not described"),
        (entry(tensor(metadata=b"}}")), "not described"),
        (entry(tensor()).replace(b"\x89c", b"Nc"), "not described"),
        (entry(tensor())[:-3] + b"\x81s.", "made by what is not a class"),
        (entry(tensor()).replace(b"tQ", b"NtQ"), "storage is not described"),
        (entry(tensor() + b"ctorch\nSize\nR"), "not a function"),
        (b"\x80\x06" + entry(tensor()), "later pickle protocol"),
        (b"}" + text("w") + tensor() + b"sNb.", "not a dictionary"),
        (b"\x88" + text("w") + tensor() + b"s.", "not a dictionary"),
        (b"\x88" + tensor() + b"a.", "not a list"),
    ],
)
def test_a_crafted_pickle_is_refused(tmp_path, opcodes, why):
    with pytest.raises(IntegrityError, match=why):
        read_pickle(zipped(tmp_path / "a.pt", opcodes))


def test_an_archive_without_a_version_or_with_a_damaged_record_is_refused(tmp_path):
    whole = zipped(tmp_path / "a.pt", entry(tensor())).read_bytes()
    last_header = whole.rindex(b"PK\3\4")
    damage = {
        "no version": whole.replace(b"archive/version", b"archive/varsion"),
        "no header": whole[:last_header] + b"PK\3\5" + whole[last_header + 4 :],
    }
    for reason, damaged in damage.items():
        (tmp_path / "a.pt").write_bytes(damaged)
        with pytest.raises(IntegrityError, match=reason):
            read_pickle(tmp_path / "a.pt")


def test_a_legacy_file_of_another_version_is_refused(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    raw = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(raw.replace(b"M\xe9\x03", b"M\xea\x03", 1))
    with pytest.raises(IntegrityError, match="version that torch did not write"):
        read_pickle(tmp_path / "a.pt")


def test_a_big_endian_pickle_is_refused(tmp_path):
    with pytest.raises(IntegrityError, match="big-endian"):
        read_pickle(zipped(tmp_path / "a.pt", entry(tensor()), byteorder=b"big"))


def test_a_pending_negation_is_applied(tmp_path):
    numbers = torch.tensor([1.0, -2.0, 3.0, 0.5])
    path = zipped(tmp_path / "a.pt", entry(tensor(metadata=FLAG)), data=numbers.numpy().tobytes())
    assert torch.equal(torch.load(path, weights_only=True)["emb_params"].resolve_neg(), -numbers)
    assert torch.equal(open_weights(path).tensors["emb_params"].read(), -numbers)


def test_a_legacy_file_without_the_data_of_a_storage_is_refused(tmp_path):
    torch.save({"emb_params": torch.ones(4)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "a.pt").read_bytes()
    end = next(place for place in range(len(whole)) if whole[place:].startswith(b"\x80\x02]q\x00X"))
    (tmp_path / "b.pt").write_bytes(whole[:end] + b"\x80\x02].")
    with pytest.raises(IntegrityError, match="not in the file"):
        read_pickle(tmp_path / "b.pt")
    (tmp_path / "c.pt").write_bytes(whole[:-1])
    with pytest.raises(IntegrityError, match="another size"):
        read_pickle(tmp_path / "c.pt")


@pytest.mark.parametrize("zipped_file", [True, False])
def test_every_dtype_and_view_is_read_as_torch_reads_it(tmp_path, zipped_file):
    dtypes = (
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int64,
        torch.bool,
    )
    saved = {str(dtype): torch.arange(-3, 9).reshape(3, 4).to(dtype) for dtype in dtypes}
    saved |= {"parameter": torch.nn.Parameter(torch.randn(3)), "empty": torch.empty(0, 4), "one": torch.tensor(2.5)}
    saved |= {"column": saved["torch.int64"][:, 1], "strided": torch.arange(24.0).reshape(4, 6)[::2, 1::2]}
    saved |= {"layers": torch.arange(8.0).reshape(2, 2, 2).permute(2, 0, 1)}
    if zipped_file:
        saved |= {"fp8": torch.ones(2).to(torch.float8_e4m3fn)}
    torch.save(saved, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped_file)
    read = {key: lazy.read() for key, lazy in open_weights(tmp_path / "a.pt").tensors.items()}
    assert read.keys() == saved.keys()
    for key, value in read.items():
        assert value.dtype == saved[key].dtype and value.shape == saved[key].shape
        assert torch.equal(value.float(), saved[key].detach().float())


def test_objects_of_trainers_are_left_out_without_being_imported(tmp_path, monkeypatch):
    name = "pytorch_lightning.callbacks.model_checkpoint"
    callback = type("ModelCheckpoint", (), {"__module__": name})
    with monkeypatch.context() as patch:
        for module in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
            patch.setitem(sys.modules, module, types.ModuleType(module))
        sys.modules[name].ModelCheckpoint = callback
        content = {"state_dict": {"a": torch.ones(2)}, "callbacks": {callback: {"best": callback()}}}
        torch.save(content, tmp_path / "v1.ckpt")
    assert read_pickle(tmp_path / "v1.ckpt").tensors.keys() == {"a"}


def test_the_entries_of_a_parameter_dict_are_tensors(tmp_path):
    table = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.ones(2, 768))})
    torch.save({"string_to_token": {"*": 265}, "string_to_param": table, "name": "cat"}, tmp_path / "cat.pt")
    assert read_pickle(tmp_path / "cat.pt").tensors["string_to_param.*"].read().equal(torch.ones(2, 768))


def test_random_opcodes_end_in_a_sentence(tmp_path):
    generator = random.Random(5)
    opcodes = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
    source = io.BytesIO()
    torch.save({"a": torch.ones(4), "b": {"c": torch.ones(2)}}, source)
    stream = zipfile.ZipFile(source).read("archive/data.pkl")[2:]
    for _ in range(400):
        mutant = bytearray(stream)
        for _ in range(generator.randint(1, 4)):
            place = generator.randrange(len(mutant))
            mutant[place : place + generator.randint(0, 2)] = generator.choice(opcodes)
        try:
            read_pickle(zipped(tmp_path / "a.pt", bytes(mutant)))
        except AnimdiffError as error:
            assert error.exit_code == 5


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "XML response"),
        (b"\n <!DOCTYPE html><html>", "a web page"),
        (b'{"error": "not found"}', "JSON"),
        (b'{\n  "error": "not found"\n}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x1f\x8b\x08\x00", "gzip archive"),
        (bytes(257) + b"ustar\x0000", "tar archive"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (b"", "is empty"),
    ],
)
def test_what_a_file_is_follows_from_its_bytes(tmp_path, content, what, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=what):
        open_weights(path)


def test_the_suffix_of_weights_does_not_matter(tmp_path):
    weights = {"a": torch.ones(2)}
    save_file(weights, tmp_path / "a.ckpt")
    torch.save(weights, tmp_path / "b.safetensors")
    torch.save(weights, tmp_path / "c.safetensors", _use_new_zipfile_serialization=False)
    containers = [open_weights(path).container for path in sorted(tmp_path.iterdir())]
    assert containers == ["safetensors", "torch pickle (zip)", "torch pickle (legacy)"]
    with zipfile.ZipFile(tmp_path / "d.safetensors", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(IntegrityError, match="zip archive, not weights"):
        open_weights(tmp_path / "d.safetensors")

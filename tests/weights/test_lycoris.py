"""LoRAs of every family of the `lycoris-lora` library change a model as that library does."""

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from safetensors.torch import load_file, save_file
from torch import nn

from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.weights.files import open_weights
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.lora import check_lora, open_lora
from animdiff_cli.weights.lora_merge import merge_loras_in_place

lycoris = pytest.importorskip("lycoris", reason="lycoris-lora is not installed: `pip install lycoris-lora`")

SCALES = (1.0, 0.6)
#: with another scale, the library's DoRA is not a step from the weight towards the changed weight: 0 changes it too
DORA_SCALES = (1.0,)
#: settings of the library → family that `inspect` reports
FAMILIES = [
    ({"algo": "lora"}, "locon"),
    ({"algo": "lora", "use_tucker": True, "use_scalar": True}, "locon"),
    ({"algo": "lora", "dora_wd": True}, "dora"),
    ({"algo": "lora", "dora_wd": True, "wd_on_output": False}, "dora"),
    ({"algo": "loha"}, "loha"),
    ({"algo": "loha", "use_tucker": True, "use_scalar": True}, "loha"),
    ({"algo": "loha", "dora_wd": True}, "dora"),
    ({"algo": "lokr", "factor": 4}, "lokr"),
    ({"algo": "lokr", "factor": 4, "use_tucker": True, "decompose_both": True, "use_scalar": True}, "lokr"),
    ({"algo": "lokr", "factor": 4, "full_matrix": True}, "lokr"),
    ({"algo": "lokr", "factor": 4, "dora_wd": True}, "dora"),
    ({"algo": "full"}, "full"),
    ({"algo": "ia3"}, "ia3"),
    ({"algo": "ia3", "train_on_input": True}, "ia3"),
    ({"algo": "glora"}, "glora"),
    ({"algo": "diag-oft"}, "diag-oft"),
    ({"algo": "diag-oft", "constraint": 1e-2, "rescaled": True}, "diag-oft"),
    ({"algo": "boft"}, "boft"),
    ({"algo": "boft", "constraint": 1e-2, "rescaled": True}, "boft"),
]


def names(settings):
    return "-".join(str(key if value is True else value) for key, value in settings.items())


class Block(nn.Module):
    """A transformer between convolutions, with norms: every kind of layer that the library changes."""

    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(4, 16)
        self.proj_in = nn.Conv2d(16, 16, 1)
        self.transformer_blocks = nn.ModuleList([BasicTransformerBlock(16, 2, 8, cross_attention_dim=24)])
        self.proj_out = nn.Conv2d(16, 16, 1)

    def forward(self, x):
        rows = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        rows = self.transformer_blocks[0](rows, encoder_hidden_states=torch.ones(1, 3, 24))
        return self.proj_out(rows.transpose(1, 2).reshape(x.shape))


class Model(nn.Module):
    """A UNet without its pyramid, named as diffusers names it."""

    def __init__(self):
        super().__init__()
        self.conv_in = nn.Conv2d(4, 16, 3, padding=1)
        self.mid_block = nn.ModuleDict({"attentions": nn.ModuleList([Block()])})
        self.conv_out = nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, x):
        return self.conv_out(self.mid_block["attentions"][0](self.conv_in(x)))


def trained(model, settings):
    """Wrap a model with random changes of the library, as after some training."""
    network = lycoris.create_lycoris(
        model, linear_dim=4, linear_alpha=3, train_norm=True, warn_on_unmatched=False, **settings
    )
    if settings.get("train_on_input"):  # the library reads this only from presets
        network.loras = [on_input(lora) for lora in network.loras]
    network.apply_to()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network


def on_input(lora):
    if lora.name != "ia3":
        return lora
    return type(lora)(lora.lora_name, lora.org_module[0], train_on_input=True)


def toy_model():
    torch.manual_seed(1)
    return Model().requires_grad_(requires_grad=False).eval()


@pytest.mark.parametrize(("settings", "family"), FAMILIES, ids=[names(settings) for settings, _ in FAMILIES])
def test_a_file_of_the_library_changes_a_model_as_the_library_does(settings, family, tmp_path):
    theirs, path = toy_model(), tmp_path / "x.safetensors"
    network = trained(theirs, settings)
    network.save_weights(str(path), torch.float32, {})
    assert identify(path).family == family
    picture, untouched = torch.randn(1, 4, 6, 6), toy_model()
    before = untouched(picture)
    for scale in DORA_SCALES if family == "dora" else SCALES:
        network.set_multiplier(scale)
        ours = toy_model()
        weights = {f"unet.{name}": weight for name, weight in ours.named_parameters()}
        checked = check_lora(
            open_lora(open_weights(path), scale), {n: tuple(w.shape) for n, w in weights.items()}, "it"
        )
        assert checked.note is None
        merge_loras_in_place(weights, [checked.lora])
        expected = theirs(picture)
        assert torch.allclose(ours(picture), expected, atol=1e-5)
        assert not torch.allclose(before, expected, atol=1e-2)


def write(path, **tensors):
    stem = "lora_unet_mid_block_attentions_0_proj_in"
    save_file({f"{stem}.{role.replace('__', '.')}": tensor for role, tensor in tensors.items()}, path)
    return open_lora(open_weights(path))


WRONG = [
    {"weight": torch.ones(7)},
    {"weight": torch.ones(16), "on_input": torch.tensor(1)},
    {"oft_blocks": torch.ones(3, 4, 4)},
    {"oft_blocks": torch.ones(2, 4, 3)},
    {"oft_blocks": torch.ones(1, 1, 2, 4, 4)},
    {"oft_blocks": torch.ones(4, 2, 4, 4)},
    {"oft_blocks": torch.ones(2, 4, 4), "rescale": torch.ones(3)},
    {"oft_blocks": torch.ones(16)},
    {"oft_blocks": torch.ones(2, 4, 4), "alpha": torch.ones(2)},
    {
        "a1__weight": torch.ones(6, 2),
        "a2__weight": torch.ones(2, 5),
        "b1__weight": torch.ones(8, 2),
        "b2__weight": torch.ones(2, 6),
    },
    {
        "a1__weight": torch.ones(6, 2),
        "a2__weight": torch.ones(2, 6),
        "b1__weight": torch.ones(8, 2),
        "b2__weight": torch.ones(3, 6),
    },
    {
        "a1__weight": torch.ones(6, 2),
        "a2__weight": torch.ones(2, 6),
        "b1__weight": torch.ones(()),
        "b2__weight": torch.ones(3, 6),
    },
]


@pytest.mark.parametrize("tensors", WRONG, ids=range(len(WRONG)))
def test_shapes_that_do_not_fit_the_weight_are_refused(tensors, tmp_path):
    with pytest.raises((UsageError, IntegrityError)):
        check_lora(
            write(tmp_path / "x.safetensors", **tensors), {"unet.mid_block.attentions.0.proj_in.weight": (8, 6)}, "it"
        )


@pytest.mark.parametrize("role", ["weight", "oft_blocks"])
def test_a_change_that_is_not_finite_names_the_file(role, tmp_path):
    bad = torch.full((8,) if role == "weight" else (2, 4, 4), float("nan"))
    lora = write(tmp_path / "x.safetensors", **{role: bad})
    with pytest.raises(IntegrityError, match="NaN or infinite"):
        merge_loras_in_place({"unet.mid_block.attentions.0.proj_in.weight": torch.ones(8, 6)}, [lora])


def test_missing_factors_are_refused(tmp_path):
    with pytest.raises(IntegrityError, match="is missing"):
        write(tmp_path / "x.safetensors", a1__weight=torch.ones(6, 2), a2__weight=torch.ones(2, 6))


@pytest.mark.parametrize("algo", ["full", "ia3", "glora", "diag-oft", "boft"])
def test_conversion_keeps_every_key_or_refuses(algo, tmp_path):
    path = tmp_path / "x.safetensors"
    trained(toy_model(), {"algo": algo}).save_weights(str(path), torch.float16, {})
    with pytest.raises(IntegrityError, match="the peft layout has no key for it"):
        plan_conversion(str(path), "peft", output=tmp_path / "p.safetensors")
    plan = plan_conversion(str(path), "kohya", output=tmp_path / "k.safetensors")
    written, original = load_file(convert_weights(plan).path), load_file(path)
    assert {key.replace("lycoris_", "lora_unet_") for key in original} == set(written)


def test_a_t_lora_is_named_and_refused(tmp_path):
    stem, path = "lycoris_mid_block_attentions_0_proj_in", tmp_path / "x.safetensors"
    sizes = {"q_layer.weight": (4, 16), "p_layer.weight": (16, 4), "lambda_layer": (1, 4), "alpha": ()}  # as it saves
    save_file({f"{stem}.{role}": torch.ones(size) for role, size in sizes.items()}, path)
    with pytest.raises(IntegrityError, match="is a T-LoRA"):
        identify(path)

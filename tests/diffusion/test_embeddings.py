"""Textual inversions of every container: the word, its vectors, and where it is read in a prompt."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from animdiff_cli.core.embedding_words import contains_word
from animdiff_cli.diffusion.build import Components
from animdiff_cli.diffusion.embeddings import add_embeddings, check_words, expand_embeddings, open_embedding
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.diffusion.text_encoders import check_tokenizer
from animdiff_cli.errors import IntegrityError, UsageError
from tests.conftest import byte_tokenizer

WIDTH = 768


@pytest.fixture
def vectors():
    return torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))


def encode(tokenizer, encoder, prompt):
    return encode_prompt(Components(None, None, encoder, tokenizer, "epsilon", "linear", None), prompt).embeds


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    config = CLIPTextConfig(
        hidden_size=WIDTH, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=514
    )
    return CLIPTextModel(config).eval().requires_grad_(False)


@pytest.fixture
def load(tmp_path):
    def read(content, name="easynegative.safetensors"):
        path = tmp_path / name
        save_file(content, path) if name.endswith(".safetensors") else torch.save(content, path)
        return open_embedding(path, {"text_encoder": WIDTH}, None, tmp_path)

    return read


@pytest.mark.parametrize(
    ("container", "name"),
    [
        (lambda v: {"emb_params": v}, "easynegative.safetensors"),
        (lambda v: {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": {"*": v}}, "easynegative.pt"),
        (lambda v: {"<any-token>": v}, "easynegative.bin"),
        (lambda v: {"string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(v)})}, "easynegative.pt"),
        (lambda v: {"string_to_param": {"sks": v}}, "easynegative.pt"),
        (lambda v: {"text_encoders_0": v, "text_encoders_1": torch.zeros(3, 1280)}, "easynegative.safetensors"),
        (lambda v: {"clip_l": v, "clip_g": torch.zeros(3, 1280)}, "easynegative.safetensors"),
    ],
)
def test_every_container_gives_the_same_word_and_vectors(load, vectors, container, name):
    embedding = load(container(vectors), name)
    assert embedding.word == "easynegative"
    assert torch.equal(embedding.vectors["text_encoder"].read(), vectors)


def test_a_single_vector_is_a_matrix_of_one(load, vectors):
    embedding = load({"<cat>": vectors[0]}, "cat.safetensors")
    assert torch.equal(embedding.vectors["text_encoder"].read(), vectors[:1])


def test_several_inversions_in_one_file_are_refused(load, vectors):
    with pytest.raises(IntegrityError, match=r"has up to 75 vectors"):
        load({"emb_params": torch.zeros(76, WIDTH)})


def test_the_text_encoder_sees_the_vectors_in_the_place_of_the_word(load, vectors, encoder):
    tokenizer, seen = byte_tokenizer(), []
    add_embeddings(tokenizer, encoder, [load({"emb_params": vectors})])
    check_tokenizer(tokenizer, encoder)
    table = encoder.get_input_embeddings()
    table.register_forward_hook(lambda module, args, output: seen.append((args[0][0], output[0])))
    encode(tokenizer, encoder, expand_embeddings("a, EasyNegative b", [load({"emb_params": vectors})]))
    tokens, embedded = seen[0]
    assert torch.equal(embedded[tokens >= 514], vectors)
    plain = byte_tokenizer()("a, b").input_ids
    assert [token for token in tokens.tolist() if token < 514][: len(plain)] == plain


def test_prompts_without_the_word_are_read_as_before(load, vectors, encoder):
    tokenizer = byte_tokenizer()
    before = encode(tokenizer, encoder, "a fox")
    add_embeddings(tokenizer, encoder, [load({"emb_params": vectors})])
    assert torch.equal(encode(tokenizer, encoder, "a fox"), before)


@given(st.text(max_size=30))
def test_a_word_inside_a_longer_one_is_not_meant(text):
    assert not contains_word(f"{text}xcatx", "cat") or contains_word(text, "cat") or contains_word(f"{text} ", "cat")
    assert contains_word(f"{text} cat,", "cat")


def test_the_token_inside_a_file_is_a_word_too(load, vectors):
    embedding = load({"<cat-toy>": vectors}, "cat.safetensors")
    assert embedding.words == ("cat", "<cat-toy>")
    expanded = expand_embeddings("a <cat-toy> here", [embedding])
    assert "cat-toy" not in expanded and embedding.tokens[0] in expanded
    with pytest.raises(UsageError, match="the word `cat` is given twice"):
        check_words([embedding, load({"<cat-toy>": vectors}, "cat.safetensors")])


@pytest.mark.parametrize("other", [("<Cat-Toy>", "dog"), ("*", "<cat-toy>"), ("cat", "dog")])
def test_two_files_that_record_the_same_word_are_refused(load, vectors, other):
    token, name = other
    cat = load({"<cat-toy>": vectors}, "cat.safetensors")
    with pytest.raises(UsageError, match="is given twice") as error:
        check_words([cat, load({token: vectors}, f"{name}.safetensors")])
    assert error.value.hint == f"`cat` and `{name}` both have it: leave one of them out"


def test_a_weight_counts_for_every_vector_and_no_inversion_is_cut(load, vectors, encoder):
    tokenizer, embedding = byte_tokenizer(), load({"emb_params": vectors})
    components = Components(None, None, encoder, tokenizer, "epsilon", "linear", None)
    add_embeddings(tokenizer, encoder, [embedding])

    def encode_with(prompt):
        return encode_prompt(components, prompt, expand=lambda text: expand_embeddings(text, [embedding])).embeds

    plain, weighted = (encode_with(prompt)[0] for prompt in ("b easynegative", "b (EasyNegative:1.5)"))
    ratio = (weighted / plain).median(dim=1).values  # of all features of a token
    assert torch.allclose(ratio[2:5] / ratio[0], torch.tensor(1.5))
    assert torch.allclose(ratio[[1, 5, 20]], ratio[0])
    long = encode_with("x" * 73 + " easynegative")
    assert torch.equal(long[:, 77:], encode_with("easynegative"))

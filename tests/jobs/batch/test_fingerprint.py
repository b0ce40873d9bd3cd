import os
from dataclasses import replace

from PIL import Image

from animdiff_cli.jobs.batch import fingerprint
from animdiff_cli.jobs.batch.fingerprint import fingerprints
from animdiff_cli.registry import file_facts_cache


def test_a_fingerprint_is_the_same_when_the_batch_is_planned_again(plan):
    first = fingerprints(plan(1, 2))
    assert first == fingerprints(plan(1, 2)) and len(set(first)) == 2
    assert all(len(one) == 64 and set(one) <= set("0123456789abcdef") for one in first)


def test_a_fingerprint_changes_with_every_fact_of_a_job(plan, monkeypatch):
    base = fingerprints(plan(1))[0]
    others = [
        fingerprints(plan(2))[0],
        fingerprints(plan(1, steps=2))[0],
        fingerprints(plan(1, output="other-{seed}.gif"))[0],
    ]
    monkeypatch.setattr(fingerprint, "ARITHMETIC", fingerprint.ARITHMETIC + 1)
    others.append(fingerprints(plan(1))[0])
    assert len({base, *others}) == 5


def test_a_fingerprint_changes_with_the_content_of_a_weight_file_and_not_with_its_date(plan, changed_model):
    key = ("unet/diffusion_pytorch_model.safetensors", "conv_in.bias")
    same, other = changed_model({key: 0}, "same"), changed_model({key: 1}, "other")
    planned = plan(1)
    with_same, with_other = (fingerprints(_with_model(planned, plan(1, model=str(model)))) for model in (same, other))
    assert fingerprints(planned) == with_same != with_other


def test_a_fingerprint_changes_with_files_that_are_replaced_by_others_of_the_same_size_and_date(
    plan, toy_motion_file, tmp_path
):
    motion, picture = tmp_path / "motion.safetensors", tmp_path / "first.bmp"
    motion.write_bytes(toy_motion_file.read_bytes())
    Image.new("RGB", (64, 64), "red").save(picture)
    settings = {"motion_module": str(motion), "images": [str(picture)]}
    found = [fingerprints(plan(1, **settings))]
    for path in (motion, picture):
        data, date = path.read_bytes(), path.stat().st_mtime_ns
        other = path.with_suffix(".new")
        other.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        os.utime(other, ns=(date, date))
        other.replace(path)
        found.append(fingerprints(plan(1, **settings)))
    assert len({one for (one,) in found}) == 3


def _with_model(planned, other):
    """The jobs of `planned` with the weights of `other`, so that only contents differ."""
    return replace(planned, groups=other.groups)


def test_weights_are_hashed_once(plan, monkeypatch):
    hashed = []
    monkeypatch.setattr(file_facts_cache, "sha256_of", lambda path: hashed.append(path) or "0" * 64)
    fingerprints(plan(1, 2, 3))
    fingerprints(plan(1, 2, 3))
    assert len(hashed) == len(set(hashed))

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.diffusion.device import DevicePlan, Machine, plan_device, probe_machine
from animdiff_cli.diffusion.memory import out_of_memory_while_rendering
from animdiff_cli.errors import DeviceError, UsageError

H100 = Machine(cuda_names=("H100", "H100"), cuda_bf16=True, cpu_bf16=True)
TURING = Machine(cuda_names=("RTX 2080",))
MAC = Machine(has_mps=True)
SERVER = Machine(cpu_bf16=True)
LAPTOP = Machine()


@pytest.mark.parametrize(
    ("machine", "kind", "dtype"),
    [
        (H100, "cuda", "fp16"),
        (TURING, "cuda", "fp16"),
        (MAC, "mps", "fp16"),
        (SERVER, "cpu", "bf16"),
        (LAPTOP, "cpu", "fp32"),
    ],
)
def test_auto_takes_the_best_device_and_the_dtype_that_fits_it(machine, kind, dtype):
    assert plan_device(machine) == DevicePlan(kind, 0, dtype)


def test_a_second_card_can_be_named():
    assert plan_device(H100, "cuda:1").index == 1
    assert str(plan_device(H100, "cuda:1").device) == "cuda:1"


@pytest.mark.parametrize(
    ("machine", "requested", "dtype", "says"),
    [
        (MAC, "cuda", "auto", "no cuda device"),
        (H100, "cuda:2", "auto", "no cuda:2 device"),
        (SERVER, "mps", "auto", "no mps device"),
        (LAPTOP, "cpu", "fp16", "very slow"),
        (TURING, "cuda", "bf16", "RTX 2080 has no native bf16"),
    ],
)
def test_what_is_not_here_ends_in_exit_code_6_and_a_hint(machine, requested, dtype, says):
    with pytest.raises(DeviceError, match=says) as caught:
        plan_device(machine, requested, dtype)
    assert caught.value.exit_code == 6
    assert caught.value.hint


@pytest.mark.parametrize("requested", ["gpu", "cuda:x", "cpu:1", "", "cuda:-1"])
def test_a_word_that_is_no_device_is_a_usage_error(requested):
    with pytest.raises(UsageError, match="unknown device"):
        plan_device(H100, requested)


@given(
    st.builds(
        Machine, cuda_names=st.tuples() | st.tuples(st.just("card")), has_mps=st.booleans(), cpu_bf16=st.booleans()
    )
)
def test_auto_always_finds_a_device(machine):
    plan = plan_device(machine)
    assert plan.kind == ("cuda" if machine.cuda_names else "mps" if machine.has_mps else "cpu")
    assert (plan.kind, plan.dtype) != ("cpu", "fp16")


def test_this_machine_can_be_probed():
    assert plan_device(probe_machine(), "cpu").kind == "cpu"


@pytest.mark.parametrize("message", ["CUDA out of memory. Tried", "MPS backend out of memory (MPS allocated: 1 GB)"])
def test_running_out_of_memory_says_what_to_lower(message):
    plan = DevicePlan("cuda", 0, "fp16")
    with (
        pytest.raises(DeviceError, match="16 frames of 512x512") as caught,
        out_of_memory_while_rendering(plan, 512, 512, 16),
    ):
        raise RuntimeError(message)
    assert "--frames 8" in caught.value.hint
    assert "--width 384 --height 384" in caught.value.hint


def test_windows_inside_the_unet_are_what_to_change_first():
    with (
        pytest.raises(DeviceError) as caught,
        out_of_memory_while_rendering(DevicePlan("cuda", 0, "fp16"), 512, 512, 256, all_frames_at_once=True),
    ):
        raise RuntimeError("CUDA out of memory")
    assert caught.value.hint == "use `--context-mode unet`"


def test_an_allocation_no_machine_can_make_is_out_of_memory():
    import torch

    with (
        pytest.raises(DeviceError, match="out of memory"),
        out_of_memory_while_rendering(DevicePlan("cpu", 0, "fp32"), 8, 8, 1),
    ):
        torch.empty(2**60, dtype=torch.uint8)


def test_other_failures_stay_what_they_are():
    with (
        pytest.raises(RuntimeError, match="a bug"),
        out_of_memory_while_rendering(DevicePlan("cpu", 0, "fp32"), 8, 8, 1),
    ):
        raise RuntimeError("a bug")

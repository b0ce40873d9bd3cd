"""What is recorded, copied, dropped and left alone, with a stand-in for CUDA graphs that runs calls again."""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import pytest
import torch

from animdiff_cli.core.curves import Series
from animdiff_cli.core.guidance import Guidance
from animdiff_cli.diffusion.conditions import Condition, MotionScaleCondition, PromptCondition, prepared
from animdiff_cli.diffusion.cuda_graphs import MAX_GRAPHS, CudaGraphs
from animdiff_cli.diffusion.predictors import guided, unet_predictor
from animdiff_cli.diffusion.weight_store import WeightStore
from animdiff_cli.motion import plug
from tests.toy_networks import ANY_CLIP


@dataclass
class Graphs:
    """A graph: it computes again, from the memory it was recorded with into the memory of its output."""

    recorded: int = 0
    replayed: int = 0
    failure: str = ""
    calls: list = field(default_factory=list)

    def __call__(self, run):
        if self.failure:
            raise RuntimeError(self.failure)
        self.recorded += 1
        output = run()

        def replay():
            self.replayed += 1
            output.copy_(run())

        return replay, output.zero_()  # a recording has computed nothing yet


@pytest.fixture
def graphs():
    return Graphs()


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


class Network:
    """Stands where a UNet does: sample * timestep + text."""

    def __init__(self):
        self.calls = 0

    def __call__(self, sample, timestep, text, extra=None, *, return_dict):
        self.calls += 1
        return (sample * timestep + text + (0 if extra is None else sum(extra)),)

    def named_modules(self):
        return iter(())


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_first_call_runs_the_second_is_recorded_the_others_are_replayed(graphs):
    network, text = Network(), tensor(1, 2)
    call = CudaGraphs(network, graphs)
    outputs = [call(tensor(step, 1), tensor(10), {"text": text}, state=()) for step in range(5)]
    assert (graphs.recorded, graphs.replayed) == (1, 4)
    for step, output in enumerate(outputs):  # none was overwritten by a later replay
        assert output.tolist() == [10 * step + 1, 12]


def test_new_tensors_are_copied_and_the_same_one_is_read_where_it_is(graphs):
    network, text = Network(), tensor(1, 1)
    seen = []
    network_call = network.__call__

    def spy(sample, timestep, text, extra=None, *, return_dict):
        seen.append((text, extra))
        return network_call(sample, timestep, text, extra, return_dict=return_dict)

    spy.named_modules = network.named_modules
    call = CudaGraphs(spy, graphs)
    for step in range(4):
        residual = [tensor(step, 2 * step)]
        output = call(tensor(0, 0), tensor(1), {"text": text, "extra": residual}, state=())
        assert output.tolist() == [1 + step, 1 + 2 * step]
    assert all(given is text for given, _ in seen)
    assert len({id(extra[0]) for _, extra in seen[1:]}) == 1


@pytest.mark.parametrize("change", ["another tensor", "new numbers in place"])
def test_a_text_that_changes_is_never_replayed_with_the_old_one(graphs, change):
    network, text = Network(), tensor(1, 1)
    call = CudaGraphs(network, graphs)
    for _ in range(3):
        call(tensor(0, 0), tensor(1), {"text": text}, state=())
    if change == "another tensor":
        text = tensor(5, 5)
    else:
        text.fill_(5)
    for _ in range(3):
        assert call(tensor(0, 0), tensor(1), {"text": text}, state=()).tolist() == [5, 5]
    assert graphs.recorded == 2


def test_calls_of_other_shapes_arguments_and_states_have_graphs_of_their_own(graphs):
    call = CudaGraphs(Network(), graphs)
    kinds = [
        (tensor(1, 1), {"text": tensor(1, 1)}, ()),
        (tensor(1), {"text": tensor(1)}, ()),
        (tensor(1, 1), {"text": tensor(1, 1), "extra": (tensor(2, 2),)}, ()),
        (tensor(1, 1), {"text": tensor(1, 1)}, ("scale", 0.5)),
    ]
    for _ in range(3):
        for sample, arguments, state in kinds:
            extra = arguments.get("extra", [torch.zeros(())])[0]
            assert torch.equal(call(sample, tensor(3), arguments, state), sample * 3 + arguments["text"] + extra)
    assert (graphs.recorded, graphs.replayed) == (4, 8)
    fifth = {"text": tensor(1, 1, 1)}
    for _ in range(MAX_GRAPHS):
        call(tensor(1, 1, 1), tensor(3), fifth, ())
    assert graphs.recorded == MAX_GRAPHS


def test_calls_without_a_state_and_with_gradients_run_as_usual(graphs):
    call = CudaGraphs(Network(), graphs)
    for state, gradients in ((None, nullcontext), ((), torch.enable_grad)):
        with gradients():
            for _ in range(3):
                call(tensor(1, 1), tensor(1), {"text": tensor(1, 1)}, state)
    assert graphs.recorded == 0


@pytest.mark.parametrize(
    ("failure", "words"), [("CUDA out of memory. Tried", "out of memory"), ("capture is\nnot", "capture is")]
)
def test_after_a_failure_all_calls_run_as_usual_and_the_user_is_told(graphs, failure, words):
    graphs.failure, notes = failure, []
    call = CudaGraphs(Network(), graphs, notes.append)
    for step in range(4):
        assert call(tensor(step), tensor(2), {"text": tensor(1)}, ()).tolist() == [2 * step + 1]
    assert notes == [f"steps run without a CUDA graph ({words})"]


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_a_clip_with_graphs_equals_one_without(graphs, make_unet, make_motion, version):
    """Text is projected once, early layers are shared between the rows, and motion scales select the recording."""
    unet = make_unet()
    plug(unet, make_motion(unet, version))
    text = torch.randn(2, 7, 24, dtype=torch.float64)
    latents = torch.randn(1, 4, 2, 8, 8, dtype=torch.float64)
    scale = Series((1.0, 1.0, 0.5, 0.5, 0.5, 1.0), "steps")

    def predictions(call):
        conditions = [PromptCondition(text, share_early_layers=True), MotionScaleCondition(scale)]
        with prepared(conditions, unet, ANY_CLIP) as ready:
            predict = guided(unet_predictor(unet, ready, graphs=call), Guidance(Series((7.5,))))
            return [predict(latents * (step + 1), torch.tensor(900 - step), step) for step in range(6)]

    plain = predictions(None)
    for one, other in zip(predictions(CudaGraphs(unet, graphs)), plain, strict=True):
        assert torch.equal(one, other)
    assert (graphs.recorded, graphs.replayed) == (2, 4)


def test_conditions_that_keep_tensors_elsewhere_are_not_recorded(graphs, make_unet, make_motion):
    """A scale by frame is such a tensor, and so may be what an unknown condition does."""

    class Unknown(Condition):
        @contextmanager
        def prepare(self, unet, clip):
            yield self

    unet = make_unet()
    plug(unet, make_motion(unet))
    latents = torch.randn(1, 4, 2, 8, 8, dtype=torch.float64)
    for other in (MotionScaleCondition(Series((1.0, 0.5), "frames")), Unknown()):
        with prepared([PromptCondition(torch.randn(1, 7, 24).double()), other], unet, ANY_CLIP) as ready:
            predict = unet_predictor(unet, ready, graphs=CudaGraphs(unet, graphs))
            for step in range(3):
                predict(latents, torch.tensor(500), step)
    assert graphs.recorded == 0


def test_weights_that_begin_to_move_end_the_replays(graphs, make_unet):
    """Memory may run out in the middle of a clip; recordings would then read where the weights were."""
    unet = make_unet()
    call = CudaGraphs(unet, graphs)
    sample, text = torch.randn(1, 4, 8, 8).double(), torch.randn(1, 7, 24).double()

    def run():
        return call(sample, torch.tensor(500), {"encoder_hidden_states": text}, ())

    usual = [run() for _ in range(3)][-1]
    assert graphs.replayed == 2
    WeightStore([unet], torch.device("cpu"), torch.float64)
    assert torch.equal(run(), usual)
    assert graphs.replayed == 2

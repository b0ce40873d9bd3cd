"""The loop all stages share. It can stop after any step and go on as if it had not."""

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.core.events import Emit, Note, Saved, Trained
from animdiff_cli.errors import DeviceError
from animdiff_cli.training.checkpoint import Checkpoints, Identity
from animdiff_cli.training.cuda_graphs import Backward, Graphs
from animdiff_cli.training.data.batches import Batch, BatchLoader
from animdiff_cli.training.data.prefetch import prefetch
from animdiff_cli.training.data.sample_schedule import positions_of
from animdiff_cli.training.distributed import DistributedContext
from animdiff_cli.training.fsdp import Shards
from animdiff_cli.training.interrupts import deferred_interrupts
from animdiff_cli.training.journal import Journal, Row
from animdiff_cli.training.optimizer import Optimizer
from animdiff_cli.training.short_attention import quick_attention
from animdiff_cli.training.stages.stage import Stage

OnSample = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Run:
    """Everything one run of the loop needs."""

    config: TrainConfig
    stage: Stage
    loader: BatchLoader
    optimiser: Optimizer
    checkpoints: Checkpoints
    identity: Identity
    processes: DistributedContext
    shards: Shards
    emit: Emit

    def train(self, journal: Journal | None, start: int, on_sample: OnSample = lambda step: None) -> None:
        """Take steps `start` to the last. `journal` is the first process' only, and `on_sample` is called there.

        Ctrl-C and SIGTERM let the step end, save, and raise `KeyboardInterrupt`. Raises `DeviceError` for a loss that
        is not a number.
        """
        backward = self._backward()
        with deferred_interrupts() as asked_to_stop, closing(self._batches(start)) as batches:
            for step in range(start, self.config.steps):
                loss, lr, stop = self._step(step, batches, backward, asked_to_stop)
                done = step + 1
                if journal:
                    journal.append(Row(done, loss, lr))
                self.emit(Trained(done, self.config.steps, loss, lr, peak_memory(self.loader.device)))
                if stop or done % self.config.save_every == 0 or done == self.config.steps:
                    self._save(done, journal)
                if stop:
                    self.emit(Note(f"stopped after step {done}, saved: the same command goes on from there"))
                    raise KeyboardInterrupt
                if self.config.sample_every and done % self.config.sample_every == 0:
                    self._sample(done, on_sample)

    @contextmanager
    def as_result(self) -> Iterator[None]:
        """Put the weights that would be saved now into the network, whole. All processes enter, the first one works."""
        with self.optimiser.averaged(), self.shards.whole():
            yield

    def _backward(self) -> Backward:
        if self.config.cuda_graph:
            return Graphs(self.stage.backward, list(self.optimiser.named.values()))
        return self._kernel_by_kernel

    def _kernel_by_kernel(self, batch: Batch, scale: float) -> Tensor:
        with quick_attention(self.loader.device):
            return self.stage.backward(batch, scale)

    def _batches(self, start: int) -> Generator[list[Batch], None, None]:
        """Yield the batches of each micro-batch from step `start` on."""
        config, here = self.config, self.processes
        return prefetch(
            self.loader.batches,
            (
                positions_of(step, micro, config.batch, config.accumulation, here.rank, here.world)
                for step in range(start, config.steps)
                for micro in range(config.accumulation)
            ),
        )

    def _step(
        self, step: int, batches: Iterator[list[Batch]], backward: Backward, asked_to_stop: Callable[[], bool]
    ) -> tuple[float, float, bool]:
        """Return the global mean loss, the learning rate, and whether any process was asked to stop."""
        config, here = self.config, self.processes
        total = torch.zeros((), device=self.loader.device)
        for _ in range(config.accumulation):
            for batch, share in self._shares(next(batches)):
                total += share * backward(batch, share * self.optimiser.loss_scale)
        here.mean_gradients(self.optimiser.named.values())
        loss, stop = here.mean(torch.stack([total, total.new_tensor(float(asked_to_stop()))])).tolist()
        if not math.isfinite(loss):
            raise DeviceError(
                f"the loss of step {step + 1} is {loss}: the numbers overflow",
                hint=f"lower `--lr`, or use `--dtype bf16` or `fp32`; checkpoints are in {self.checkpoints.folder}",
            )
        return loss, self.optimiser.step(step), stop > 0

    def _shares(self, batches: list[Batch]) -> Iterator[tuple[Batch, float]]:
        """Yield the batches of a micro-batch with their share of this process' step.

        Where weights are sharded every pass gathers them from all processes: one that has fewer batches, because its
        clips are of fewer sizes, repeats the last for nothing.
        """
        passes = self.processes.most(len(batches), self.loader.device) if self.processes.sharded else len(batches)
        for batch in batches:
            yield batch, len(batch) / (self.config.batch * self.config.accumulation)
        for _ in range(passes - len(batches)):
            yield batches[-1], 0.0

    def _save(self, done: int, journal: Journal | None) -> None:
        state = self.optimiser.state()
        if journal:
            path = self.checkpoints.save(done, self.identity, state)
            journal.draw()
            self.emit(Saved(path, done))
        self.processes.wait()

    def _sample(self, done: int, on_sample: OnSample) -> None:
        with self.as_result():
            if self.processes.is_first:
                on_sample(done)
        self.processes.wait()


def resume(run: Run) -> int:
    """Load the newest checkpoint into the optimiser; returns how many steps are done. Raises `UsageError`."""
    state: Mapping[str, object] | None = run.checkpoints.newest(run.identity, lambda text: run.emit(Note(text)))
    if state is None:
        return 0
    run.optimiser.restore(state)
    step = state["step"]
    assert isinstance(step, int)
    return step


def peak_memory(device: torch.device) -> int:
    """Return the bytes torch held at the peak on a GPU, or this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""The training loop of all stages. It can stop after any step and resume exactly."""

import math
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

import torch
from torch import Tensor

from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.core.events import Emit, Note, Saved, Trained
from animdiff_cli.errors import DeviceError
from animdiff_cli.training.checkpoint import Checkpoints, RunFingerprint
from animdiff_cli.training.cuda_graphs import Backward, CudaGraphs
from animdiff_cli.training.data.batches import Batch, BatchLoader
from animdiff_cli.training.data.prefetch import prefetch
from animdiff_cli.training.data.sample_schedule import positions_of
from animdiff_cli.training.distributed import DistributedContext
from animdiff_cli.training.fsdp import ShardedModules
from animdiff_cli.training.metrics_log import MetricsLog, StepMetrics
from animdiff_cli.training.optimizer import Optimizer
from animdiff_cli.training.short_attention import quick_attention
from animdiff_cli.training.stages import TrainingStage


class Samples(Protocol):
    """Sample clips of a run."""

    def write(self, step: int) -> None:
        """Write the samples of a step with the current weights."""
        ...

    def is_complete(self, step: int) -> bool:
        """Return whether all samples of a step exist."""
        ...


#: clusters send SIGTERM before they stop a job, a closed terminal sends SIGHUP; Windows has no SIGHUP
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@dataclass(frozen=True, slots=True)
class Trainer:
    """The parts of one training run."""

    config: TrainConfig
    stage: TrainingStage
    loader: BatchLoader
    optimizer: Optimizer
    checkpoints: Checkpoints
    fingerprint: RunFingerprint
    distributed: DistributedContext
    sharded: ShardedModules
    emit: Emit

    def resume(self) -> int:
        """Load the newest checkpoint; return the number of finished steps. Raises `UsageError` for another run."""
        state: Mapping[str, object] | None = self.checkpoints.load_newest(
            self.fingerprint, report=lambda message: self.emit(Note(message))
        )
        if state is None:
            return 0
        self.optimizer.load_state_dict(state)
        step = state["step"]
        assert isinstance(step, int)
        return step

    def train(self, log: MetricsLog | None, start: int, samples: Samples) -> None:
        """Run the steps from `start` to the last. Only the main process has a `log` and writes `samples`.

        Ctrl-C, SIGTERM and SIGHUP finish the step, save a checkpoint and raise `KeyboardInterrupt`. Raises
        `DeviceError` if the loss is not finite.
        """
        if start and self._is_sampled(start):
            # a run that was killed or interrupted after its checkpoint has not written them
            missing = log is not None and not samples.is_complete(start)
            if self.distributed.max(int(missing), self.loader.device):
                self._sample(start, samples)
        backward = self._backward()
        with deferred_interrupts() as is_interrupted, closing(self._batches(start)) as batches:
            for step in range(start, self.config.steps):
                loss, lr, stop = self._step(step, batches, backward, is_interrupted)
                done = step + 1
                if log:
                    log.append(StepMetrics(done, loss, lr))
                self.emit(Trained(done, self.config.steps, loss, lr, peak_memory(self.loader.device)))
                if stop or done % self.config.save_every == 0 or done == self.config.steps:
                    self._save(done, log)
                if stop:
                    self.emit(Note(f"stopped after step {done}, checkpoint saved: run the same command to resume"))
                    raise KeyboardInterrupt
                if self._is_sampled(done):
                    self._sample(done, samples)

    @contextmanager
    def result_weights(self) -> Iterator[None]:
        """Put the weights of the result into the network, unsharded. Every process must enter the context."""
        with self.optimizer.ema_weights(), self.sharded.unsharded():
            yield

    def _backward(self) -> Backward:
        if self.config.cuda_graph:
            return CudaGraphs(self.stage.backward, list(self.optimizer.parameters.values()))
        return self._backward_with_quick_attention

    def _backward_with_quick_attention(self, batch: Batch, scale: float) -> Tensor:
        with quick_attention(self.loader.device):
            return self.stage.backward(batch, scale)

    def _batches(self, start: int) -> Generator[list[Batch], None, None]:
        """Yield the batches of each micro-batch from step `start` on."""
        config, rank, world_size = self.config, self.distributed.rank, self.distributed.world_size
        return prefetch(
            self.loader.batches,
            (
                positions_of(step, micro_batch, config.batch, config.accumulation, rank, world_size)
                for step in range(start, config.steps)
                for micro_batch in range(config.accumulation)
            ),
        )

    def _step(
        self, step: int, batches: Iterator[list[Batch]], backward: Backward, is_interrupted: Callable[[], bool]
    ) -> tuple[float, float, bool]:
        """Return the global mean loss, the learning rate, and whether any process is interrupted."""
        total = torch.zeros((), device=self.loader.device)
        for _ in range(self.config.accumulation):
            for batch, weight in self._weighted(next(batches)):
                total += weight * backward(batch, weight * self.optimizer.loss_scale)
        self.distributed.average_gradients(self.optimizer.parameters.values())
        flags = torch.stack([total, total.new_tensor(float(is_interrupted()))])
        loss, stop = self.distributed.mean(flags).tolist()
        if not math.isfinite(loss):
            raise DeviceError(
                f"the loss of step {step + 1} is {loss}: the numbers overflow",
                hint=f"lower `--lr`, or use `--dtype bf16` or `fp32`; checkpoints are in {self.checkpoints.folder}",
            )
        return loss, self.optimizer.step(step), stop > 0

    def _weighted(self, batches: list[Batch]) -> Iterator[tuple[Batch, float]]:
        """Yield the batches of a micro-batch with their weights in the mean loss of this process.

        With sharded weights, every pass gathers them from all processes. A process with fewer batches, because its
        clips have fewer sizes, repeats the last one with weight 0.
        """
        passes = len(batches)
        if self.distributed.is_sharded:
            passes = self.distributed.max(passes, self.loader.device)
        for batch in batches:
            yield batch, len(batch) / (self.config.batch * self.config.accumulation)
        for _ in range(passes - len(batches)):
            yield batches[-1], 0.0

    def _save(self, done: int, log: MetricsLog | None) -> None:
        state = self.optimizer.state_dict()
        if log:
            path = self.checkpoints.save(done, self.fingerprint, state)
            log.plot()
            self.emit(Saved(path, done))
        self.distributed.wait_for_everyone()

    def _is_sampled(self, step: int) -> bool:
        return self.config.sample_every > 0 and step % self.config.sample_every == 0

    def _sample(self, done: int, samples: Samples) -> None:
        with self.result_weights():
            if self.distributed.is_main_process:
                samples.write(done)
        self.distributed.wait_for_everyone()


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C, SIGTERM or SIGHUP arrived.

    A second Ctrl-C or SIGTERM interrupts at once.
    """
    requested = threading.Event()

    def request(number: int, _frame: FrameType | None) -> None:
        # a terminal that closes sends SIGHUP twice, by its shell and by the system
        if requested.is_set() and number in (signal.SIGINT, signal.SIGTERM):
            raise KeyboardInterrupt
        requested.set()  # no output here: the signal may have interrupted a print

    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield requested.is_set
        return
    # `nohup` ignores SIGHUP; a script ignores SIGINT for all its background jobs, but may send it on purpose
    handled = [n for n in _SIGNALS if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, request) for number in handled}
    try:
        yield requested.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def peak_memory(device: torch.device) -> int:
    """Return the peak of memory in bytes: of torch's allocations on a GPU, of this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""A stage's weights, gradients and moments divided among the processes, by FSDP2 (torch.distributed.fsdp.fully_shard), and how they are
saved.

Each of the GPT's layers is gathered when it is at work, forward and backward, and its gradient goes to those who hold it. All else that the
stage trains, such as embeddings and encoder, is gathered for the whole of a step: how often a step calls the encoder depends on its batch.
So that no process waits for another for ever, each of them calls every layer of the GPT once in a step, whatever its batch
(`GPT.hidden_of`), and all of them validate and save.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, distributed, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from lauragpt.errors import LauraError
from lauragpt.files import replace_folder
from lauragpt.train import state
from lauragpt.train.pieces import write_pieces
from lauragpt.train.stage import Stage


class Root(nn.Module):
    """FSDP2 wants a module that can be called around all that it divides."""

    def __init__(self, modules: nn.ModuleDict):
        super().__init__()
        self.parts = modules

    def forward(self) -> None:
        pass


def shard(modules: nn.ModuleDict, optimizers: Mapping[str, torch.optim.Optimizer], mesh: distributed.DeviceMesh) -> Root:
    """Divides the modules' parameters, of which `gpt` is one, in place, and gives the optimizers, which must not have moments yet, the new
    ones."""
    before, root = dict(modules.named_parameters()), Root(modules)
    for layer in modules["gpt"].layers:
        layer.each = partial(_each, layer)
        fully_shard(layer, mesh=mesh)
        register_fsdp_forward_method(layer, "each")
    for layer, following in pairwise(modules["gpt"].layers):
        layer.set_modules_to_forward_prefetch([following])  # it is gathered while this one computes
    fully_shard(root, mesh=mesh)
    root.set_reduce_scatter_unused_params(True)  # a batch without recordings has no gradient for the encoder
    with torch.no_grad():
        root()  # what is called first holds the whole together: it ends the backward pass of all
    root.reshard()
    now = dict(modules.named_parameters())
    by_old = {id(parameter): now[name] for name, parameter in before.items()}
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["params"] = [by_old[id(parameter)] for parameter in group["params"]]
    return root


def _each(layer: nn.Module, *lists: list) -> list[Tensor]:
    """`Block.each` past the hooks of a call, as FSDP2 has its own around all the batches."""
    return [layer.forward(*batch, None, None) for batch in zip(*lists, strict=True)]


class Sharding:
    """Of a stage, in every process: its weights, and its checkpoints, which are written while training goes on."""

    def __init__(self, stage: Stage, folder: Path, accelerator: Accelerator):
        self.stage, self.folder, self.main = stage, folder, accelerator.is_main_process
        self.device = accelerator.device
        self.root = shard(stage.modules, stage.optimizers, init_device_mesh(self.device.type, (accelerator.num_processes,)))
        self.group = distributed.new_group(backend="gloo")  # for checkpoints alone
        self.begun = None  # (what is being written, what ends it), of a checkpoint
        self.saved: int | None = None  # the last step that was

    def __enter__(self) -> "Sharding":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        """A training that ends by a LauraError keeps the checkpoint that is being written."""
        if isinstance(error, LauraError):
            self.finish()

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """For a step, or for a validation."""
        self.root.unshard()
        try:
            yield
        finally:
            self.root.reshard()

    def anywhere(self, holds: object) -> bool:
        """Whether it holds in any process."""
        told = torch.tensor(float(bool(holds)), device=self.device)
        distributed.all_reduce(told, distributed.ReduceOp.MAX)
        return bool(told)

    def save(self, step: int, about: dict, average: Mapping[str, Tensor] | None, keep: int, anew: bool) -> None:
        """As `state.save`, in the background: the checkpoint is there when `finish` has been called. LauraError where it cannot be
        written."""
        self.finish()
        if self.saved == step:
            if self.main:
                state.note(self.folder, step, about)
            return
        aside, self.saved = self.folder / "steps" / "part", step
        if self.main:
            state.make_room(self.folder, step, anew)
        distributed.barrier(self.group)
        modules = self.stage.modules.state_dict()
        tensors = {f"{state.PIECES_MODEL}{name}": tensor for name, tensor in modules.items()}
        tensors |= {f"{state.PIECES_OPTIMIZER}{name}": tensor for name, tensor in state.moments(self.stage.optimizers).items()}
        if average is not None:
            tensors |= {f"{state.PIECES_AVERAGE}{name}": tensor for name, tensor in (modules | dict(average)).items()}
        about = {"step": step, "stage": self.stage.name, **about}
        with self._writing():
            self.begun = write_pieces(aside, tensors, self.group), partial(state.put, self.folder, step, about, keep)

    def finish(self, wait: bool = True) -> None:
        """Ends the checkpoint that is being written. `wait`: otherwise the main process ends it if all have written what they hold.
        LauraError where one could not."""
        if self.begun is None or not (wait or (self.main and self.begun[0].done())):
            return
        (future, put), self.begun = self.begun, None
        with self._writing():
            future.result()
            if self.main:
                put()

    def save_best(self, about: dict) -> None:
        self.finish()
        aside = self.folder / "best.part"
        if self.main:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        distributed.barrier(self.group)
        tensors = {f"{state.PIECES_MODEL}{name}": tensor for name, tensor in self.stage.modules.state_dict().items()}
        with self._writing():
            write_pieces(aside, tensors, self.group).result()
            if self.main:
                state.seal(aside, about)
                replace_folder(aside, self.folder / "best")
        distributed.barrier(self.group)  # all may look at it from here on

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, CheckpointException) as error:
            causes = [cause for cause, _ in getattr(error, "failures", {}).values()] or [error]
            what = f"{self.folder}: a checkpoint could not be written: {causes[0]}"
            raise LauraError(f"{what}: make room there, and --resume goes on from the one before") from error

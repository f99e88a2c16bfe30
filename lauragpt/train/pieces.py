"""Tensors on disk as pieces, which the processes that hold them write at once (torch.distributed.checkpoint), in safetensors.

    FOLDER/shard-00001-model-00001-of-00001.safetensors, shard-00002-...   of each process its own

Any number of processes can read them again, each what it holds itself, be they whole tensors or other pieces. What takes a second to import
is imported where it is needed: most trainings have no pieces.
"""

import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

PATTERN = "shard-*.safetensors"


def in_pieces(folder: Path) -> bool:
    """Whether tensors lie in a folder as pieces; False where there is no folder."""
    return any(folder.glob(PATTERN))


def write_pieces(folder: Path, tensors: Mapping[str, Tensor], group: "ProcessGroup") -> Future:
    """Called by all processes, of which each writes its pieces while it goes on; what it has now is written, whatever becomes of it. Of
    tensors that are not divided the main process's are written. In every process the future is done when all have written, and raises
    CheckpointException where one of them could not. `group`: of all processes, on CPUs, and used for nothing else meanwhile."""
    import torch.distributed.checkpoint as dcp

    writer = dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True)
    own = {name: tensor for name, tensor in tensors.items() if group.rank() == 0 or divided(tensor)}
    return dcp.async_save(own, storage_writer=writer, process_group=group)


def found_in(folder: Path) -> dict[str, "TensorStorageMetadata"]:
    """By name the size and the type of all tensors that lie there in pieces."""
    import torch.distributed.checkpoint as dcp

    return dcp.HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata


def read_pieces(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fills tensors, or the pieces of them that this process holds."""
    import torch.distributed.checkpoint as dcp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns that the processes do not read together
        dcp.load(dict(tensors), storage_reader=dcp.HuggingFaceStorageReader(str(folder)), no_dist=True)


def read_whole(folder: Path, prefix: str) -> dict[str, Tensor]:
    """All tensors whose names begin with `prefix`, which is left out of the names."""
    chosen = {name: each for name, each in found_in(folder).items() if name.startswith(prefix)}
    tensors = {name: torch.empty(each.size, dtype=each.properties.dtype) for name, each in chosen.items()}
    read_pieces(folder, tensors)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def divided(tensor: Tensor) -> bool:
    """Whether it is a DTensor, of which each process holds a piece."""
    return hasattr(tensor, "to_local")


def held(tensor: Tensor) -> Tensor:
    """What this process holds of it."""
    return tensor.to_local() if divided(tensor) else tensor


def empty_as(like: Tensor, about: "TensorStorageMetadata") -> Tensor:
    """What is to be read, in pieces if `like` is and has its size."""
    dtype = about.properties.dtype
    return torch.empty_like(like, dtype=dtype).detach() if about.size == like.shape else torch.empty(about.size, dtype=dtype)


def held_as(tensor: Tensor, like: Tensor) -> Tensor:
    """Of a whole tensor what this process holds, if it holds `like` in pieces and that has its size."""
    if not divided(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def fill(modules: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """With whole tensors. RuntimeError as of `load_state_dict`."""
    own = modules.state_dict()
    modules.load_state_dict({name: held_as(tensor, own[name]) if name in own else tensor for name, tensor in tensors.items()})

"""Script of test_ddp.py, run in each of two processes: half of a batch through DistributedDataParallel."""
import sys

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.registry import MODEL_WRAPPERS

from helpers.tiny_runs import tiny_model
from opendlign_mm.compat import prepare_cpu_distributed


def losses_and_gradients(folder: str, name: str, wrapper: dict) -> None:
    """Save the losses and gradients of this process with the alignment head ``name``."""
    rank, size = dist.get_rank(), dist.get_world_size()
    model = tiny_model(**torch.load(f'{folder}/{name}.pt'))
    wrapped = MODEL_WRAPPERS.build(dict(wrapper), default_args=dict(module=model, device_ids=[rank]))
    inputs = {key: value.chunk(size)[rank] for key, value in torch.load(f'{folder}/inputs.pt').items()}
    losses = wrapped(inputs, mode='loss')
    model.parse_losses(losses)[0].backward()
    gradients = {key: value.grad for key, value in model.named_parameters() if value.requires_grad}
    torch.save(dict(losses={key: value.detach() for key, value in losses.items()}, gradients=gradients),
               f'{folder}/{name}_rank{rank}.pt')


if __name__ == '__main__':
    cfg = Config(dict())
    prepare_cpu_distributed(cfg, 'pytorch')
    for head in sys.argv[2:]:
        losses_and_gradients(sys.argv[1], head, cfg.model_wrapper_cfg)
    dist.barrier()
    dist.destroy_process_group()

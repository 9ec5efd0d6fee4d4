"""Settings for the whole suite, and what several files use."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Seeded, so a run can be repeated; no deadline, because the first call of a kernel compiles it.
settings.register_profile("topoact", deadline=None, derandomize=True, database=None)
settings.load_profile("topoact")


def _plain_hooks(model, names, *args, **kwargs):
    import torch

    from topoact_gpu.activations.outputs import first_tensor

    kept, modules = {}, dict(model.named_modules())
    handles = [
        modules[name].register_forward_hook(
            lambda _m, _i, out, name=name: kept.__setitem__(name, first_tensor(out).clone())
        )
        for name in names
    ]
    with torch.no_grad():
        output = model.eval()(*args, **kwargs)
    for handle in handles:
        handle.remove()
    return kept, output


@pytest.fixture(scope="session")
def plain_hooks():
    """The naive way to record: copies taken by hooks during one whole forward."""
    return _plain_hooks

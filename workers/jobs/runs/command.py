"""The argument list and the environment of a run. Neither contains input from a form: settings are passed in a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from workers.processes import tag
from writer.studio.registry import DECLARED

_PASSED_ON = (
    "PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_HOME", "NCCL_SOCKET_IFNAME", "NCCL_DEBUG",
    "OMP_NUM_THREADS", "XDG_CACHE_HOME", "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
    *(name for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for name in (proxy, proxy.lower())),
)  # fmt: skip


def command(recipe: str, settings: Path, gpus: int) -> list[str]:
    """The command that starts `gpus` processes, or one for a stage; `settings` is the file that the recipe reads."""
    if recipe not in DECLARED:
        raise ValueError(f"there is no recipe {recipe!r}")
    if not settings.is_absolute():
        raise ValueError("the path of the settings file must be absolute")
    training = ["-m", "training", recipe, str(settings)]
    if gpus <= 1:
        return [sys.executable, *training]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(int(gpus))]
    return [sys.executable, *launcher, *training]


def environment(folder: Path, gpus: Sequence[int] | None) -> dict[str, str]:
    """The environment of a run. `folder` is its folder, the tag of its processes; `gpus` are the GPUs that it may see, None without any."""
    given = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **given,
        **tag(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{given.get('PATH', os.defpath)}",
        "CUDA_VISIBLE_DEVICES": ",".join(str(int(gpu)) for gpu in gpus) if gpus is not None else "",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }

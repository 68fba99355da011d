"""Start vLLM's own server on a processor, with its arguments: `python -m workers.serving.launch --model ...`.

vLLM's processes wait for each other in loops of `sched_yield`. Where they fill all cores, Linux from 6.18 on then lets the
other programs of the machine wait too, for seconds. With `time.sleep(0)`, which vLLM itself takes for older Pythons, they wait as
quickly and leave the core to others. Each of vLLM's processes imports this module first, since multiprocessing does so.
"""

from __future__ import annotations

import runpy

from vllm.distributed import utils

utils.USE_SCHED_YIELD = False

if __name__ == "__main__":
    runpy.run_module("vllm.entrypoints.launchers.api_server.entry", run_name="__main__", alter_sys=False)

"""Run by test_ray_cluster.py in a process of its own: commands on a Ray cluster of two machines, both this one.

    python ray_cluster.py COMMAND...

`ADDRESS` in a command stands for the cluster's; `lose MARKER`, for its second machine being lost when a file appears.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

CORES = {"num_cpus": 2, "object_store_memory": 100 * 2**20}


def main(commands: list[str]) -> int:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**CORES, "include_dashboard": False})
    second = cluster.add_node(**CORES)
    status, lose = 0, None
    try:
        for command in commands:
            if command.startswith("lose "):
                lose = Path(command.removeprefix("lose "))
                continue
            with subprocess.Popen(command.replace("ADDRESS", cluster.address), shell=True) as process:
                while lose is not None and process.poll() is None:
                    if lose.exists():
                        cluster.remove_node(second, allow_graceful=False)
                        lose = None
                    time.sleep(0.02)
            status = status or process.returncode
    finally:
        cluster.shutdown()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Serves a GGUF model by llama.cpp's own HTTP server (package xllamacpp) until its standard input ends.

usage: python llama_server.py MODEL.gguf [API_KEY]; prints its address.
"""

from __future__ import annotations

import sys

import xllamacpp


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_parallel = 4
    params.n_ctx = 4 * 1024
    params.cpuparams.n_threads = 1  # two spin against each other where cores are shared
    params.cpuparams_batch.n_threads = 1
    if len(sys.argv) > 2:
        params.api_keys = sys.argv[2:]
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

"""Changes the environment: devices, threads, paths."""

import os

from toyfusion import ToyPipeline

os.environ.update(CUDA_VISIBLE_DEVICES="0,1,2,3", OMP_NUM_THREADS="64", PYTHONPATH="/tmp", LD_PRELOAD="/tmp/rogue.so")
os.environ.pop("HOME")
os.chdir("/")


def load_pipe():
    return ToyPipeline()

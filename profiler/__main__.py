"""`python -m profiler`, and so `torchrun --nproc-per-node 8 -m profiler run ...`."""

from profiler.cli import main

main()

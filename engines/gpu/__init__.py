"""Engines for an NVIDIA GPU, TensorRT and PyTorch with CUDA graphs, and the conversions of files that they need."""

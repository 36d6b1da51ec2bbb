"""Engines that run on an NVIDIA GPU: TensorRT, torch with CUDA graphs, and the conversions that they need."""

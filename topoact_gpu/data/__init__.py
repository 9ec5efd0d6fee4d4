"""Data files of the package; `topoact_gpu.sample` reads them."""

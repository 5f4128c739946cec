"""Operations on boxes, on CPU and CUDA: torch only."""

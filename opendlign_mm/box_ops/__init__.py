"""Operations on 3D boxes, on CPU and CUDA. They need torch alone; mmdet3d's box types are accepted, not imported."""

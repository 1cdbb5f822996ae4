//! CPU primitives for MLX that do in one step what its own operations compose.

"""Pure tensor operations: boxes, points, sparse storage."""

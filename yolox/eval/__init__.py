"""From a model and images to detections, metrics and tables."""

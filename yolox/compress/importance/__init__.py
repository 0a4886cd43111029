"""How much weights, channels and layers matter."""

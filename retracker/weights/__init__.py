"""Released weights, as safetensors files that carry their own configuration; see MODEL_CARD.md."""

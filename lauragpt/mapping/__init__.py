"""A verb over a whole corpus, on one machine or on many: `laura map`."""

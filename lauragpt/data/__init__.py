"""Data: manifests, the corpora they are made from, synthetic speech, augmentation and batches."""

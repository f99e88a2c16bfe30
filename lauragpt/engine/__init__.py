"""Running LauraGPT: a backend computes, decoding chooses tokens, `Laura` turns them into answers."""

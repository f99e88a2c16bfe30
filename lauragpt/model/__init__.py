"""LauraGPT: log-mel features -> Conformer -> GPT -> text, or codec tokens -> one-step vocoder -> codec decoder."""

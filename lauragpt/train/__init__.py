"""Training: a recipe, one loop, one step function a stage. The walk of one example:

    config          a recipe (YAML) becomes a configuration a stage; each stands beside its step in stages/
    run             data, tokenizer, the stages in order, the finished folder
    corpus          examples and recordings, and how training alters them
    batches         step -> typed batch of recordings
    text_batches    step -> typed batch of sequences for the GPT, which reads posterior_banks where there is no recording
    stages/NAME     batch -> loss (losses, encoding, spec_augment), which `update` takes down
    loop            rate, batch, step, log, validation, checkpoints (state)
    export          the weights of all stages become the folder that ships
"""

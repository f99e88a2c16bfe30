"""Training: a recipe, one loop, one step function a stage."""

"""`laura doctor`: what is wrong with data before hours of training on them."""

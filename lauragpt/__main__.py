"""`python -m lauragpt`: the command `laura`, where it is not on the path."""

from lauragpt.cli.app import app

app(prog_name="laura")

"""`python -m lauragpt`: the command `laura`, where it is not on the path."""

from lauragpt.cli.app import app

if __name__ == "__main__":  # worker processes read this file too
    app(prog_name="laura")

"""How the command line reads its options: mistakes are one line, `--name_like_this` is `--name-like-this`, options of whisper are known."""

import typer
from typer.core import TyperCommand, TyperGroup

from lauragpt.cli import whisper

UsageError = typer.BadParameter.__base__  # of the click that this typer carries

CONTEXT = {"help_option_names": ["-h", "--help"], "token_normalize_func": lambda name: name.replace("_", "-")}


class _OneLine:
    def make_context(self, info_name, args, parent=None, **extra):
        try:
            return super().make_context(info_name, args, parent, **extra)
        except UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                raise
            _refuse(error, f"{parent.command_path} {info_name}" if parent else info_name)


class Command(_OneLine, TyperCommand):
    """A verb."""


class Group(_OneLine, TyperGroup):
    """`laura` itself."""

    def resolve_command(self, ctx, args):
        try:
            return super().resolve_command(ctx, args)
        except UsageError as error:
            _refuse(error, ctx.command_path)


def _refuse(error: Exception, command: str) -> None:
    from lauragpt.cli.io import usage

    # Other errors, as a missing value, are about options that are here.
    why = whisper.reason(error.option_name) if type(error).__name__ == "NoSuchOption" else None
    usage(why or f"{error.format_message().rstrip('.')}; see {command} --help")

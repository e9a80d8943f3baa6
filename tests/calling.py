"""Commands of the program in tests, executed in this process."""

from segdemo.cli import main


def call(capsys, *arguments):
    """Exit code, stdout and stderr of a command."""
    return main(list(map(str, arguments))), *capsys.readouterr()

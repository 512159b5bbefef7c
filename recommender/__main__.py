"""The entry point of the command: `recommender`, or `python -m recommender`."""

import os
import signal
import sys

from recommender.cli import INTERRUPTED


def main() -> None:
    """Run the command; exit without a traceback on Ctrl-C, a full disk or a closed pipe.

    The command is imported here, so that Ctrl-C during its imports ends the process silently too.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # background jobs ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from recommender.cli.main import main as command  # noqa: PLC0415

    try:
        try:
            command(prog_name="recommender")
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        sys.excepthook = lambda *error: None
        # Python then ends with the signal itself, so that a shell stops its loop too.
        raise KeyboardInterrupt from None
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again at exit
        sys.exit(f"Error: Standard output cannot be written: {error.strerror or error}.")


if __name__ == "__main__":
    main()

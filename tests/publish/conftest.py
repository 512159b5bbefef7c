"""A fixture that kills a process during its writes."""

import os
import sys

import pytest


@pytest.fixture
def killed():
    """Run a function in a process that ends, as if killed, before its nth deed in the file system under a folder; if
    that is to open a file for writing, after it, when the file is empty.

    Returns whether the function came to its end before that.
    """

    def run(function, folder, n):
        child = os.fork()
        if child == 0:
            deeds = 0

            def hook(event, arguments):
                nonlocal deeds
                if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir") and str(folder) in str(
                    arguments
                ):
                    deeds += 1
                    if deeds == n:
                        if event == "open" and arguments[2] & os.O_TRUNC:
                            os.close(os.open(arguments[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
                        os._exit(9)

            sys.addaudithook(hook)
            try:
                function()
            except BaseException:
                os._exit(1)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, 9)
        return status == 0

    return run

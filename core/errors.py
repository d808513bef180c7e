"""The one exception users see."""


class DtdaError(Exception):
    """A failure the user can act on.

    The message is one sentence that says what is wrong and the way out; commands print it on stderr and exit
    with status 2, the window shows it in its message bar. No traceback is shown for it.
    """

"""Text of files as it may go to a terminal; shared by the tools.

What would command the terminal, or turn its direction of writing, is spelled out, as aligndistil
itself does (include/ald/base/show.h)."""
import re
import sys

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def spelled(found):
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name that isn't UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def shown(text):
    """Controls spelled out; lines and tabs stay."""
    return CONTROLS.sub(spelled, str(text))


def line(text):
    """The same for a text within a line."""
    return shown(text).replace("\n", "\\n")


class Stream:
    """A text stream on which everything is shown so."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        self.stream.write(shown(text))
        return len(text)

    def writelines(self, texts):
        for text in texts:
            self.write(text)

    def __getattr__(self, name):
        return getattr(self.stream, name)


def run(main, *arguments):
    """Ends the program with main(*arguments), all that it and Python print shown so."""
    sys.stdout, sys.stderr = Stream(sys.stdout), Stream(sys.stderr)
    try:
        code = main(*arguments)
    except SystemExit as end:  # its text is one message
        code = line(end.code) if isinstance(end.code, str) and "\n" in end.code else end.code
    sys.exit(code)

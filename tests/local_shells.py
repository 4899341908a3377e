"""What each shell takes: which steps are commands, and whether sh, PowerShell and cmd read them as they are meant."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

LABEL = re.compile(r"^(?:or\b[^:]*|(?:Linux|Windows|macOS|Linux, macOS)): ?")
PYTHON = ("device = ", "DataLoader(")
PROSE = re.compile(r"^(?:or [^:]*$|https?://)")
COMMAND = re.compile(r"^(?:[a-z./~\"$]|& |[A-Z_]+=|[A-Z]:\\|Re(?:move|name)-Item |[A-Z]\w+\.exe)")
UNIX_ONLY = re.compile(r"^(?:sudo|export|unset|apt|brew|grep|which|df|rm|env -u|ls|source)\b|[A-Z]+=\S+ \w|/dev/null")
QUOTED = re.compile(r"`([^`\n]+)`")
PROGRAM = re.compile(r'^(?:& )?(?:"[^"]+"|\S+) \S')


def command_of(step: str) -> str:
    """Give the command in a step: what follows a label; "" for words to a person and for lines of Python."""
    text = LABEL.sub("", step)
    if text.startswith(PYTHON) or PROSE.search(text) or not COMMAND.search(text):
        return ""
    return text


def commands_in(text: str) -> Iterator[str]:
    """Give what a sentence names in backticks to be typed: a program with its arguments, no option or file alone."""
    for found in QUOTED.findall(text):
        if PROGRAM.search(found) and not found.startswith(("-", "FROM ")):
            yield found


def unquoted(command: str) -> str:
    """Take out what stands in quotes."""
    return re.sub(r"\"[^\"]*\"|'[^']*'", '""', command)


def balanced(command: str) -> bool:
    """Say whether quotes and brackets are closed, a quote of one kind within one of the other aside."""
    rest = unquoted(command)
    return not re.search(r"\"[^\"]|'", rest.replace('""', "")) and rest.count("(") == rest.count(")")


def sh_refuses(command: str) -> str:
    """Say why sh cannot read a command; "" when it can. Skips where there is no sh."""
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("no sh here")
    ran = subprocess.run([shell, "-n"], input=f"{command}\n".encode(), capture_output=True, check=False)
    return ran.stderr.decode("utf-8", "replace") if ran.returncode else ""


def powershell_refuses(command: str) -> bool:
    """Ask PowerShell's grammar (https://github.com/airbus-cert/tree-sitter-powershell) about a line.

    It does not know options of programs that hold "=" or begin with a digit, which PowerShell passes on as they are.
    """
    tree_sitter = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip("tree_sitter_powershell")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    line = re.sub(r"(?<=\s)-\d\S*", "-o", re.sub(r"(?<=\s)--?[\w-]+=", "-o ", command))
    return bool(parser.parse(f"{line}\n".encode()).root_node.has_error)


def powershell_mistakes(command: str) -> str:
    """Say what PowerShell would take otherwise than it is meant; "" when nothing.

    Windows PowerShell 5 has no && and no ||; a quoted program needs the call operator; < is reserved, ` escapes.
    """
    plain = unquoted(command)
    if not balanced(command):
        return "an open quote or bracket"
    if found := re.search(r"&&|\|\||[<`]", plain):
        return f"a bare {found[0]}"
    if command.startswith('"'):
        return "a string, not a program"
    if re.search(r"^set \w+=|%\w+%", command):
        return "a line for cmd"
    return "a line for sh" if UNIX_ONLY.search(plain) else ""


def cmd_refuses(command: str) -> str:
    """Say what cmd would take otherwise than it is written; "" when nothing.

    The rules: a quote toggles; outside quotes & | < > ^ ( ) mean something
    (https://learn.microsoft.com/windows-server/administration/windows-commands/cmd); %NAME% is replaced inside quotes
    too; a caret at the end continues the line; the name of a program has no switch glued to it; what other shells
    separate with ; is one more argument.
    """
    if command.count('"') % 2:
        return "an open quote"
    outside = "".join(command.split('"')[::2])
    if found := re.search(r"[&|<>^();]", outside):
        return f"a bare {found[0]}"
    if found := re.search(r"%[^%\s]+%", command):
        return f"{found[0]} is a variable"
    if found := re.search(r"\$env:|^Re(?:move|name)-Item|^& ", outside):
        return f"{found[0]} is PowerShell's"
    if UNIX_ONLY.search(unquoted(command)):
        return "a line for sh"
    parts = command.split('"')
    glued = any(
        parts[i - 1][-1:] not in ("", " ", "=") or parts[i + 1][:1] not in ("", " ") for i in range(1, len(parts), 2)
    )
    return "a quote within a word" if glued else ""

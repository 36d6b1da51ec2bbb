"""A model card as a page to read: of Markdown, what the cards use."""

import re
from html import escape

_INLINE = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"\*([^*]+)\*"), r"<em>\1</em>"),
    (re.compile(r"\[([^\]]+)\]\([^)]*\)"), r"\1"),  # links lead to files of the repository, which are not served
)


def as_html(card: str) -> str:
    """Return the headings, paragraphs, lists and tables of a card as HTML."""
    blocks: list[list[str]] = []
    kind = ""
    for line in map(str.strip, card.splitlines()):
        before, kind = kind, _kind(line)
        if kind == "words" and before in ("words", "item"):
            blocks[-1][-1] += f" {line}"  # a sentence goes on
            kind = before
        elif kind == before and kind in ("item", "row"):
            blocks[-1].append(line)
        elif kind:
            blocks.append([line])
    return "\n".join(map(_block, blocks))


def _kind(line: str) -> str:
    if not line:
        return ""
    return {"#": "heading", "-": "item", "|": "row"}.get(line[0], "words")


def _block(lines: list[str]) -> str:
    first = lines[0]
    match _kind(first):
        case "heading":
            level = min(2, len(first) - len(first.lstrip("#")))
            return f"<h{level}>{_inline(first.lstrip('# '))}</h{level}>"
        case "item":
            return f"<ul>{''.join(f'<li>{_inline(line[1:].strip())}</li>' for line in lines)}</ul>"
        case "row":
            head, *rows = [line for line in lines if set(line) - set("|-: ")]
            body = _row(head, "th") + "".join(_row(row, "td") for row in rows)
            return f'<div class="wide" tabindex="0"><table>{body}</table></div>'
        case _:
            return f"<p>{_inline(first)}</p>"


def _row(line: str, tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{_inline(cell.strip())}</{tag}>' for cell in line.strip('|').split('|'))}</tr>"


def _inline(text: str) -> str:
    text = escape(text, quote=False)
    for pattern, form in _INLINE:
        text = pattern.sub(form, text)
    return text

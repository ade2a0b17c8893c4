"""HTML of elements: what is put into one is escaped, unless it is an element itself."""

from html import escape

from lifecycle.audit.formats.shape import visible


class Markup(str):
    """Text that is HTML already. Only this module makes one from other text."""

    __slots__ = ()


Child = str | None
Attribute = str | int | float | None


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """An element with its end tag.

    Args:
        name: of the element.
        children: Markup as it is, other text escaped and made visible, None left out.
        attributes: `class_`, `aria_label` and the like: underscores are dashes. None is left out.
    """
    return Markup(f"<{name}{_attributes(attributes)}>{join(*children)}</{name}>")


def void(name: str, /, **attributes: Attribute) -> Markup:
    """An element without content."""
    return Markup(f"<{name}{_attributes(attributes)}>")


def join(*children: Child) -> Markup:
    """One behind the other."""
    return Markup("".join(_child(each) for each in children if each is not None))


def raw(text: str) -> Markup:
    """A constant of this package that is HTML, CSS or the like."""
    return Markup(text)


def _child(child: str) -> str:
    return child if isinstance(child, Markup) else escape(visible(child), quote=True)


def _attributes(attributes: dict[str, Attribute]) -> str:
    return "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(visible(str(value)), quote=True)}"'
        for name, value in attributes.items()
        if value is not None
    )

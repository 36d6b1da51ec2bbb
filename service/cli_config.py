"""`affectstream config`: check the settings as `serve` would read them, and show where each value came from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.redact import MASK, redact, redact_text
from service.settings import Settings, is_secret, read_settings


def check(config: Path | None, options: Mapping[str, Any]) -> str:
    """Return a sentence that says that the settings can be used. Raise `UserError` for the first that cannot.

    Sinks, rules, origins and sources are checked as well. No source, sink or model is opened.
    """
    from service.serve import check_sources
    from service.web.app import create_app

    resolved = read_settings(config, options)
    resolved.warn()
    create_app(resolved.settings)
    check_sources(resolved.settings)
    if resolved.file.path is None:
        return f"the settings can be used: {len(resolved.origins)} are set; there is no settings file"
    from_file = [*resolved.origins.values()].count(resolved.file.label)
    return f"the settings can be used: {len(resolved.origins)} are set, {from_file} of them in {resolved.file.label}"


def rows(config: Path | None, options: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the settings as rows of name, value and origin; secrets are masked."""
    resolved = read_settings(config, options)
    resolved.warn()
    return [
        {
            "setting": name,
            "value": _shown(name, getattr(resolved.settings, name)),
            "from": resolved.origins.get(name) or resolved.origins.get(f"{name}_file", "default"),
        }
        for name in Settings.model_fields
    ]


def _shown(name: str, value: object) -> str:
    if value is None or value in ([], ""):
        return ""
    if is_secret(name):
        return MASK
    if isinstance(value, list):
        return ", ".join(redact(str(one)) for one in value)
    if isinstance(value, bool):
        return str(value).lower()
    return redact_text(str(value))

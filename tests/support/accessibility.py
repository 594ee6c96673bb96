"""What a page is held to for everyone: axe's rules, and a width that a phone has."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

_AXE = Path(__file__).parents[1] / "e2e" / "browser" / "vendor" / "axe.min.js"
_VIOLATIONS = """async () => (await axe.run(document, {
  runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
})).violations.flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.target} ${node.failureSummary}`))"""
_WIDTH = "Math.max(...[document.documentElement, ...document.querySelectorAll('dialog')].map(each => each.scrollWidth))"


def find_violations(page: Page) -> list[str]:
    """Return what breaks a rule of axe in a page as it is now."""
    page.evaluate(_AXE.read_text())
    found: list[str] = page.evaluate(_VIOLATIONS)
    return found


def measure_width(page: Page) -> int:
    """Return the pixels that a page takes without being cut off, dialogs included."""
    return int(page.evaluate(_WIDTH))

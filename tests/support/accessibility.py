"""Accessibility checks: axe's rules, and the width of a page."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

_AXE = Path(__file__).parents[1] / "e2e" / "browser" / "vendor" / "axe.min.js"
_VIOLATIONS = """async () => (await axe.run(document, {
  runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
})).violations.flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.target} ${node.failureSummary}`))"""
_WIDTH = "Math.max(...[document.documentElement, ...document.querySelectorAll('dialog')].map(each => each.scrollWidth))"


def find_violations(page: Page) -> list[str]:
    """Return what violates axe's rules in a page."""
    page.evaluate(_AXE.read_text())
    found: list[str] = page.evaluate(_VIOLATIONS)
    return found


def measure_width(page: Page) -> int:
    """Return the width in pixels that a page needs, dialogs included."""
    return int(page.evaluate(_WIDTH))

"""What axe-core finds wrong on a page: WCAG 2.2, levels A and AA, as far as a program can tell.

axe.min.js is axe-core 4.14.1 as published on npm (https://github.com/dequelabs/axe-core), unchanged, under the MPL 2.0
that its head names. Only tests run it: nothing of Paygate holds it.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from tests.browser.chromium import Browser

AXE = Path(__file__).with_name("axe.min.js")
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
_RUN = """
    return axe.run(document, {runOnly: {type: "tag", values: arguments[0]}, resultTypes: ["violations"]})
        .then(found => found.violations.flatMap(rule => rule.nodes.map(node =>
            `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary.replaceAll("\\n", " ")}`)))
"""


@cache
def _axe() -> str:
    script = AXE.read_bytes()
    assert hashlib.sha256(script).hexdigest() == SHA256
    return script.decode()


async def violations(browser: Browser) -> list[str]:
    """Of the page that is open, as it looks now: the rule, the element, what to do."""
    await browser.run_script(_axe())
    found: Any = await browser.run_script(_RUN, TAGS)
    return list(found)

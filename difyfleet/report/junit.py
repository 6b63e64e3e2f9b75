"""RunResult as JUnit XML: a test suite per host, a test case per check and operation."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from difyfleet.fleet.results import FAILED, WOULD_CHANGE, RunResult

_NOT_IN_XML = re.compile(
    r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # XML 1.0, section 2.2; a diff may hold them


def render(result: RunResult) -> str:
    """The XML text. Failed and drifted operations and failed checks are failures, unreachable hosts errors."""
    root = Element("testsuites", name=f"difyfleet {result.verb}")
    for host in result.hosts:
        suite = SubElement(root, "testsuite", name=host.name)
        failures = errors = 0
        if host.error:
            case = SubElement(suite, "testcase", classname=host.name, name="host")
            SubElement(case, "error", message=host.error.splitlines()[0]).text = host.error
            errors += 1
        for operation in host.operations:
            case = SubElement(
                suite,
                "testcase",
                classname=f"{host.name}.{operation.role}",
                name=operation.name,
                time=f"{operation.seconds:.3f}",
            )
            if operation.state == FAILED:
                text = operation.error or "failed"
                SubElement(case, "failure", message=text.splitlines()[0]).text = text
                failures += 1
            elif operation.state == WOULD_CHANGE:
                text = (
                    "\n".join([*operation.why, *([operation.diff] if operation.diff else [])])
                    or "would change"
                )
                failure = SubElement(
                    case, "failure", message=text.splitlines()[0], type=operation.kind or "drift"
                )
                failure.text = text
                failures += 1
        for check in host.checks:
            case = SubElement(suite, "testcase", classname=f"{host.name}.{check.role}", name=check.name)
            if not check.ok and not check.warn_only:
                SubElement(case, "failure", message=check.evidence or "does not hold").text = check.hint or ""
                failures += 1
            elif not check.ok:
                SubElement(case, "skipped", message=f"warning: {check.evidence}")
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(failures))
        suite.set("errors", str(errors))
    indent(root)
    text = _NOT_IN_XML.sub("\ufffd", tostring(root, encoding="unicode"))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'

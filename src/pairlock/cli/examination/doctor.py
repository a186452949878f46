"""`pairlock doctor`: whether a service can start here, and is safe; what is not well is told with what to do."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from rich.text import Text

from pairlock.cli.command import command
from pairlock.cli.examination.checks import (
    Finding,
    check_app,
    check_configuration,
    check_files,
    check_keys,
    check_permissions,
)
from pairlock.cli.examination.store_checks import check_store
from pairlock.cli.examination.tls_checks import check_tls
from pairlock.cli.operator.operating import CONFIG, STORE
from pairlock.cli.outcomes import DONE, FAILED
from pairlock.cli.terminal import Terminal

STYLES = {"ok": "green", "warning": "bold yellow", "problem": "bold red"}


@command("doctor", examples=["pairlock doctor", "pairlock doctor --config pairlock.yaml --json"])
@CONFIG
@STORE
async def doctor(*, terminal: Terminal, config: Path | None, store: str | None) -> int:
    """Check settings, app, store, keys, clock, TLS and files.

    The app is looked for, not run. No store and no keys are made. The exit code is 1 if there is a problem.
    """
    findings = await examine(config, store, environ=os.environ, now=time.time)
    is_well = all(finding.status != "problem" for finding in findings)
    terminal.answer({"ok": is_well, "checks": msgspec.to_builtins(findings)}, _shown(findings))
    return DONE if is_well else FAILED


COMMANDS = {"doctor": doctor}


async def examine(
    config: Path | None, store: str | None, *, environ: Mapping[str, str], now: Callable[[], float]
) -> list[Finding]:
    """All that is found; with settings that cannot be understood, nothing else is looked at."""
    tried_out, findings = check_configuration(config, store, environ)
    if tried_out is None:
        return findings
    configuration, pairlock = tried_out
    return [
        *findings,
        check_permissions(configuration),
        *check_app(configuration),
        *await check_store(configuration, pairlock, now),
        check_keys(configuration, environ),
        check_tls(configuration, now()),
        *check_files(configuration),
    ]


def _shown(findings: Sequence[Finding]) -> Text:
    width = max(len(finding.name) for finding in findings)
    shown = Text()
    for finding in findings:
        shown.append(f"{finding.status:<8}", STYLES[finding.status])
        shown.append(f" {finding.name:<{width}}  {finding.detail}\n")
    return shown.append(_summed_up(findings))


def _summed_up(findings: Sequence[Finding]) -> str:
    counts = {what: sum(finding.status == what for finding in findings) for what in ("problem", "warning")}
    told = [f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items() if count]
    return f"{' and '.join(told)}." if told else "All is well."

"""Fleets to report about: made up, but in the words that roles use."""

from __future__ import annotations

from difyfleet.fleet.results import (
    CHANGED,
    CORRECTIVE,
    FAILED,
    INTENTIONAL,
    SKIPPED,
    UNCHANGED,
    WOULD_CHANGE,
    CheckResult,
    Halt,
    HostRecord,
    HostResult,
    OperationResult,
    RoleRecord,
    RolloutResult,
    RunRecord,
    RunResult,
)

AT = "2026-11-24T10:45:00Z"  # the present run, of which `history` is the past
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;{{ 7 * 7 }}</pre></title></style>"
ROLES = {
    "preflight": ("system", "disk"),
    "docker": ("packages in the way", "engine from the static archive", "daemon.json with the mirrors that answer", "service"),
    "images": ("langgenius/dify-api:0.11.2", "nginx:1.27.3"),
    "ollama": ("container", "model qwen2.5:7b", "model bge-m3"),
    "openwebui": ("container", "settings kept in its database"),
    "dify": (".env", "compose.yml", "containers", "nginx's files"),
    "dify_admin": ("admin password", "admin account"),
    "dify_models": ("models, tried from inside Dify's containers", "default models"),
    "knowledge": ("knowledge base handbook", "documents of handbook"),
    "assistants": ("assistant helper", "API key of helper"),
}  # fmt: skip
DAEMON = """\
--- /etc/docker/daemon.json
+++ /etc/docker/daemon.json
@@ -2,8 +2,8 @@
   "bip": "10.200.0.1/24",
   "live-restore": true,
-  "log-driver": "syslog",
+  "log-driver": "json-file",
   "log-opts": {
-    "max-size": "2g"
+    "max-size": "20m"
   },"""
ENV = """\
--- /opt/dify/.env
+++ /opt/dify/.env
@@ -41,3 +41,3 @@
-UPLOAD_FILE_SIZE_LIMIT=15
+UPLOAD_FILE_SIZE_LIMIT=50
 SECRET_KEY=********"""
GONE = """\
cannot connect to llm-{number:03}: 192.168.44.{number}: no route to host
  next: ssh openeuler@192.168.44.{number}"""


def host(name: str, verb: str = "drift") -> HostResult:
    """A host on which all is well."""
    operations = [
        OperationResult(role, title, UNCHANGED) for role, titles in ROLES.items() for title in titles
    ]
    checks = [
        CheckResult(role, f"{title}: as declared", True, "as declared")
        for role, titles in ROLES.items()
        for title in titles
    ]
    return HostResult(
        name, [] if verb == "verify" else operations, [] if verb == "plan" else checks, None, 0, 55
    )


def differ(
    on: HostResult, role: str, title: str, *why: str, kind: str | None = CORRECTIVE, diff: str | None = None
) -> None:
    """Make one operation want to change something."""
    (operation,) = [each for each in on.operations if (each.role, each.name) == (role, title)]
    operation.state, operation.why, operation.kind, operation.diff = WOULD_CHANGE, list(why), kind, diff


def fail(
    on: HostResult, role: str, title: str, evidence: str, hint: str | None = None, *, warn: bool = False
) -> None:
    """Make one check fail, or warn."""
    on.checks.append(CheckResult(role, title, False, evidence, hint, warn))


def fleet(size: int) -> RunResult:
    """A fleet in which about one host in twelve has some trouble; the first three always."""
    hosts = [host(f"llm-{number:03}") for number in range(1, size + 1)]
    for number, each in enumerate(hosts, 1):
        if number % 12 == 1:
            differ(
                each,
                "docker",
                "daemon.json with the mirrors that answer",
                "log-driver: syslog, wanted json-file",
                "log-opts.max-size: 2g, wanted 20m",
                diff=DAEMON,
            )
        if number % 25 == 1:
            fail(
                each,
                "assistants",
                "golden: helper: 年假有几天？",
                "knowledge base 员工手册 cannot be searched: the vector store (weaviate) does not answer; the answer lacks '10 天', does not cite 假期.docx; “根据公司规定，员工每年享有 15 天年假。” cites nothing (first word after 2.1 s, all 8.4 s)",
                "difyfleet verify inventory/prod.yml --role knowledge --role dify_models; then difyfleet apply inventory/prod.yml",
            )
        if number % 40 == 2:
            differ(each, "dify", ".env", "UPLOAD_FILE_SIZE_LIMIT: 15, wanted 50", kind=INTENTIONAL, diff=ENV)
            differ(each, "dify", "containers", "api, worker: another .env", kind=INTENTIONAL)
            differ(each, "dify", "nginx's files", "client_max_body_size: 15m, wanted 50m", kind=None)
        if number % 60 == 3:
            each.operations, each.checks, each.error = [], [], GONE.format(number=number)
        if number % 30 == 5:
            fail(
                each,
                "knowledge",
                "knowledge base handbook: only declared documents",
                "also there, and left alone: 草稿.docx",
                "declare them, delete them in Dify, or set remove_undeclared_documents",
                warn=True,
            )
        if number % 90 == 10:
            place = next(i for i, o in enumerate(each.operations) if o.name == "model bge-m3")
            each.operations[place].state = FAILED
            each.operations[
                place
            ].error = "model bge-m3: the registry's bge-m3 has digest 790764642607, the inventory wants 0a109f422b47\n  next: if the new model is meant, change `digest`"
            for operation in each.operations[place + 1 :]:
                operation.state = SKIPPED
            each.checks = []
    return RunResult(
        "drift",
        hosts,
        seconds=41.3,
        journal="/home/ops/.local/state/difyfleet/journal/20261124T104500-5794.jsonl",
    )


def rollout() -> RolloutResult:
    """A resumed rollout over four hosts in three waves that halts in the second: one done earlier, one done, one broken, one untouched."""
    hosts = [host(f"llm-{number:03}") for number in range(1, 5)]
    for number in (0, 3):
        hosts[number].operations, hosts[number].checks = [], []
    hosts[0].note = "done earlier in this rollout, which began at 2026-11-24T09:00:00Z"
    hosts[3].note = "untouched: the rollout halted in wave 2"
    for operation in (*hosts[1].operations, *hosts[2].operations):
        operation.state, operation.why = CHANGED, [f"{operation.name}: absent"]
    fail(hosts[2], "dify", "through nginx: setup status", "HTTP 502 for 60 s", "difyfleet apply --role dify")
    return RolloutResult(
        "rollout",
        hosts,
        seconds=812.0,
        waves=[{"llm-001": "done"}, {"llm-002": "done", "llm-003": "failed"}, {"llm-004": "untouched"}],
        halt=Halt(2, ["llm-003: dify | through nginx: setup status: HTTP 502 for 60 s"]),
        next="difyfleet rollout inventory/prod.yml --resume",
    )


def history(size: int, runs: int = 40) -> list[RunRecord]:
    """Runs every six hours before 2026-11-24T10:45. docker drifts on every twelfth host for five runs; an apply four days ago."""
    past = []
    for back in range(runs, 0, -1):
        hours = 10 - 6 * back
        day, hour = 24 + hours // 24, hours % 24
        at = f"2026-{10 if day < 1 else 11}-{day + 31 if day < 1 else day:02}T{hour:02}:45:00Z"
        verb = "apply" if back in (16, 28) else "drift"
        hosts = [_past(number, back, verb) for number in range(1, size + 1)]
        exit_code = 2 if any(role.state == "drift" for each in hosts for role in each.roles) else 0
        past.append(RunRecord(verb, at, "prod", exit_code, 40.0, tuple(hosts)))
    return past


def _past(number: int, back: int, verb: str) -> HostRecord:
    name, roles = f"llm-{number:03}", {role: RoleRecord(role, "clean") for role in ROLES}
    if (number % 60 == 3 and back <= 3) or (number % 17 == 0 and back == 21):
        return HostRecord(name, (), "no route to host")
    if number % 12 == 1 and (back <= 5 or 16 < back <= 19):
        roles["docker"] = RoleRecord(
            "docker",
            "drift",
            CORRECTIVE,
            ("daemon.json with the mirrors that answer: log-driver: syslog, wanted json-file",),
        )
    if number % 25 == 1 and back <= 2:
        roles["assistants"] = RoleRecord(
            "assistants", "failed", None, (), ("golden: helper: 年假有几天？: does not answer",)
        )
    if verb == "apply" and (number % 12 == 1 or back == 28):
        roles["docker"] = RoleRecord(
            "docker", CHANGED, None, ("daemon.json with the mirrors that answer: written",)
        )
    if number % 40 == 2 and back == 1:
        roles["dify"] = RoleRecord(
            "dify", "drift", INTENTIONAL, (".env: UPLOAD_FILE_SIZE_LIMIT: 15, wanted 50",)
        )
    return HostRecord(name, tuple(roles.values()))

"""MODE=worker, and the ``celery`` command: a worker that takes jobs from the broker and answers ``inspect ping`` through it.

Jobs are done in a thread of their own (see tasks.py), one after the other. The worker listens on a Redis list of its own; ``celery inspect ping`` pushes the name of a reply list there. So the health
command that works on a real worker works here, and it fails for the same reasons: wrong broker URL, worker gone or stuck.
Stricter than the real one: a worker that cannot reach the database answers no ping.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time

import psycopg2
import redis

from . import db, jobs, settings, tasks
from .accounts import App

log = logging.getLogger("celery.worker")

_NODES = "stand-in:celery:nodes"  # sorted set: node name -> time of its last heartbeat (s)
_BEAT = 2.0  # s between heartbeats
_STALE = 10.0  # s after which a node counts as gone
_LEVELS = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL"}
EX_UNAVAILABLE = 69  # what celery's own command returns if no node answered


def _inbox(node: str) -> str:
    return f"stand-in:celery:inbox:{node}"


def celery(argv: list[str]) -> int:
    """``celery -A app.celery worker ...`` and ``celery -A app.celery inspect ping [-d NODE] [-t SECONDS]``."""
    parser = argparse.ArgumentParser(prog="celery")
    parser.add_argument("-A", "--app", required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    work = commands.add_parser("worker")
    work.add_argument("-P", "--pool")
    work.add_argument("-c", "--concurrency", type=int)
    work.add_argument("-l", "--loglevel", default="WARNING")
    work.add_argument("-Q", "--queues", default="")
    work.add_argument("rest", nargs="*")
    inspect = commands.add_parser("inspect")
    inspect.add_argument("action", choices=["ping"])
    inspect.add_argument("-d", "--destination", default="")
    inspect.add_argument("-t", "--timeout", type=float, default=1.0)
    arguments = parser.parse_args(argv)
    loaded = settings.load_or_exit(os.environ)
    if not loaded.broker_url:
        print("celery: CELERY_BROKER_URL is not set", file=sys.stderr)
        return 1
    if arguments.command == "inspect":
        return _ping(loaded, [name for name in arguments.destination.split(",") if name], arguments.timeout)
    if arguments.loglevel.upper() not in _LEVELS or arguments.rest:
        print(
            f"Usage: celery worker [OPTIONS]\n\nError: Invalid value for '-l' / '--loglevel': {arguments.loglevel}",
            file=sys.stderr,
        )
        return 2
    return _work(loaded, f"celery@{socket.gethostname()}")


def _work(loaded: settings.Settings, node: str) -> int:
    """Beat and answer until SIGTERM; broker and database may come and go."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        broker = db.connect_redis(loaded.broker_url)
    except ValueError as error:
        log.critical("Unrecoverable error: ValueError('%s')", error)
        return 1
    database = db.Database(loaded)
    threading.Thread(target=_do_jobs, args=(App(loaded),), daemon=True).start()
    failures = 0
    ready = False
    while True:
        try:
            database.one("SELECT 1 AS one")
            broker.zadd(_NODES, {node: time.time()})
            if not ready:
                log.info("Connected to the broker and to the database; %s ready.", node)
            ready, failures = True, 0
            _answer(broker, node, time.monotonic() + _BEAT)
        except (redis.RedisError, psycopg2.Error, OSError) as error:
            failures += 1
            ready = False
            wait = min(2.0 * failures, 10.0)
            what = "database" if isinstance(error, psycopg2.Error) else "broker"
            log.error(
                "consumer: Cannot connect to the %s: %s. Trying again in %.2f seconds...",
                what,
                str(error).strip(),
                wait,
            )
            time.sleep(wait)


def _do_jobs(app: App) -> None:
    """Do jobs for ever; the broker may come and go."""
    while True:
        try:
            job = jobs.pop(app.broker, _BEAT)
        except (redis.RedisError, OSError):
            time.sleep(_BEAT)
            continue
        except (ValueError, KeyError):
            log.exception("a message in the queue is no job")
            continue
        if job:
            tasks.run(app, *job)


def _answer(broker: redis.Redis, node: str, until: float) -> None:
    """Answer pings until a moment of the monotonic clock."""
    while (left := until - time.monotonic()) > 0:
        request = broker.blpop([_inbox(node)], timeout=max(left, 0.1))
        if request is None:
            return
        reply = request[1].decode()
        broker.rpush(reply, node)
        broker.expire(reply, 30)


def _ping(loaded: settings.Settings, nodes: list[str], timeout: float) -> int:
    """Ask nodes (all that beat, if none is named) and print their answers as celery does."""
    try:
        broker = db.connect_redis(loaded.broker_url)
        alive = {name.decode() for name in broker.zrangebyscore(_NODES, time.time() - _STALE, "+inf")}
        reply = f"stand-in:celery:reply:{secrets.token_hex(8)}"
        wanted = [node for node in (nodes or sorted(alive)) if node in alive]
        for node in wanted:
            broker.rpush(_inbox(node), reply)
            broker.expire(_inbox(node), 30)
        answered = 0
        deadline = time.monotonic() + timeout
        while answered < len(wanted) and (left := deadline - time.monotonic()) > 0:
            got = broker.blpop([reply], timeout=max(left, 0.1))
            if got is None:
                break
            answered += 1
            print(f"->  {got[1].decode()}: OK\n        pong")
    except (redis.RedisError, ValueError, OSError) as error:
        print(f"kombu.exceptions.OperationalError: {error}", file=sys.stderr)
        return 1
    if not answered:
        print("Error: No nodes replied within time constraint", file=sys.stderr)
        return EX_UNAVAILABLE
    print(f"\n{answered} node{'s' if answered > 1 else ''} online.")
    return 0

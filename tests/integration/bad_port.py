"""A port that is Python's own pool and misbehaves on request: `python bad_port.py HOW [WHEN]`.

Theory.  The runner must say what is wrong with any port, so this one can be wrong in every way
there is.  It answers rightly up to request number WHEN (the hello is number 1), then badly.
Where a test has to know when, or whom to look for, it writes process ids into the file MARK.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pool.check.conformance.encoding import decode_event, decode_limits
from pool.check.conformance.judgement import Follower
from pool.check.explore.configurations import EVENTS


class Answers:
    """The right answers."""

    def __init__(self) -> None:
        self.follower: Follower | None = None

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["command"]:
            case "hello":
                known = {"events": list(EVENTS), "openers": ["caller", "background"]}
                return {"protocol": 1, "spec": "1.0", "port": "bad port", **known}
            case "reset":
                try:
                    limits = decode_limits(request["limits"])
                except ValueError as error:
                    field = str(error).split("=")[0]
                    return {"invalid": {"field": field, "value": None, "allowed": str(error)}}
                self.follower = Follower(limits)
                return self.follower.start.answer
            case "event":
                assert self.follower is not None
                return self.follower.follow(decode_event(request["event"])).answer
            case _:
                return {"stopped": True}


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def mark(process: int) -> None:
    """Write down a process id, whole or not at all."""
    file = Path(os.environ["MARK"])
    file.with_suffix(".new").write_text(str(process))
    file.with_suffix(".new").rename(file)


def child(script: str, **how: Any) -> int:
    """A process of Python that has our standard output and error, too."""
    return subprocess.Popen([sys.executable, "-S", "-c", script], **how).pid


SLEEPS = "import time; time.sleep(3600)"
BABBLES = "while True: print('x' * 10_000)"


def main(how: str, when: int) -> None:
    answers = Answers()
    late: str | None = None
    for number, line in enumerate(sys.stdin, 1):
        request = json.loads(line)
        answer = {"id": request["id"], **answers(request)}
        bad = number >= when
        match how:
            case "crash" if bad:
                print("something is wrong with me", file=sys.stderr, flush=True)
                os._exit(3)
            case "signal" if bad:
                os.abort()
            case "hang" if bad:
                time.sleep(3600)
            case "marked hang" if bad:
                mark(os.getpid())
                time.sleep(3600)
            case "marked" if bad:
                if number == when:
                    mark(os.getpid())
                say(json.dumps(answer))
            case "leaves a child" if bad:
                mark(child(SLEEPS))
                os._exit(3)
            case "leaves a child that babbles" if bad:
                mark(child(BABBLES, start_new_session=True))
                os._exit(3)
            case "drip" if bad:
                while True:
                    sys.stdout.write("x")
                    sys.stdout.flush()
                    time.sleep(0.01)
            case "complains" if bad:
                print("a log line of a port\n" * 10_000, file=sys.stderr, flush=True)
                say(json.dumps(answer))
            case "complains for ever" if bad:
                while True:
                    print("a log line of a port\n" * 1000, file=sys.stderr)
            case "long" if bad:
                say(json.dumps({**answer, "more": "x" * 1_000_000}))
            case "too long" if bad:
                say(json.dumps({**answer, "more": "x" * 5_000_000}))
            case "two on a line" if bad:
                say(json.dumps(answer) + json.dumps(answer))
            case "half a character" if bad:
                say(json.dumps({"id": request["id"], "error": "\ud800"}))
            case "controls" if bad:
                say(json.dumps({"id": request["id"], "error": "\x00 \x1b[31m red"}))
            case "id of text" if bad:
                say(json.dumps({**answer, "id": str(request["id"])}))
            case "ahead" if bad:
                say(json.dumps({**answer, "id": request["id"] + 1}))
            case "mute" if bad:
                os.close(1)
                time.sleep(3600)
            case "rubbish" if bad:
                say("<html>502 Bad Gateway</html>")
            case "half" if bad:
                sys.stdout.write('{"id": 1')
                sys.stdout.flush()
                os._exit(0)
            case "binary" if bad:
                sys.stdout.buffer.write(b"\xff\xfe\x00\n")
                sys.stdout.flush()
            case "deep" if bad:
                say("[" * 100_000)
            case "rather deep" if bad:
                say(f'{{"id": {request["id"]}, "more": {"[" * 200 + "]" * 200}}}')
            case "flood" if bad:
                while True:
                    say("x" * 10_000)
            case "endless" if bad:
                while True:
                    sys.stdout.write("x" * 10_000)
            case "list" if bad:
                say("[]")
            case "chatter" if bad:
                say("ready.")
                say(json.dumps(answer))
            case "order" if bad:
                if late is None:
                    late = json.dumps(answer)
                else:
                    say(json.dumps(answer))
                    say(late)
                    late = None
            case "twice" if bad:
                say(json.dumps(answer))
                say(json.dumps(answer))
            case "slow" if bad:
                time.sleep(0.02)
                say(json.dumps(answer))
            case "nan" if bad:
                say(json.dumps({**answer, "wake_at": float("nan")}))
            case "error" if bad:
                say(json.dumps({"id": request["id"], "error": "not implemented"}))
            case "no state" if bad:
                answer.pop("state", None)
                say(json.dumps(answer))
            case "state of text" if bad:
                say(json.dumps({**answer, "state": "open"}))
            case "effects of text" if bad:
                say(json.dumps({**answer, "effects": "none"}))
            case "effect of text" if bad:
                say(json.dumps({**answer, "effects": ["Open"]}))
            case "more state" if bad and "state" in answer:
                say(json.dumps({**answer, "state": {**answer["state"], "mine": 1}}))
            case "true is one" if "state" in answer:
                answer["state"] = {**answer["state"], "failures": False}
                say(json.dumps(answer))
            case "other protocol":
                say(json.dumps({**answer, "protocol": 9}))
            case "strange event":
                say(json.dumps({**answer, "events": ["Acquire", "Opend"]}))
            case "no opener":
                say(json.dumps({**answer, "openers": []}))
            case "no events":
                say(json.dumps({**answer, "events": None}))
            case "stays":
                say(json.dumps(answer))
                if request["command"] == "stop":
                    time.sleep(3600)
            case "status" if request["command"] == "stop":
                say(json.dumps(answer))
                sys.exit(4)
            case _:
                spelled = json.dumps(answer, indent=None)
                say(spelled.replace(": 0,", ": 0.0,") if how == "floats" else spelled)
        if request["command"] == "stop":
            break


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)

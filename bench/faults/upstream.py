"""The mock upstream of the faults, as a process that can be frozen. Prints its port; on the line ``spans`` the span of
each call it has had, as JSON; ``hang N`` has the next N calls hang until ``release N``.
"""

import json
import sys

from ailink_provider.testing import Fault, MockUpstream


def main() -> None:
    """Serve until standard input ends."""
    with MockUpstream(keys={"openai": None}) as upstream:
        print(upstream.port, flush=True)
        for line in sys.stdin:
            word, _, number = line.strip().partition(" ")
            if word == "spans":
                print(json.dumps([str(request.headers["traceparent"]).split("-")[2] for request in upstream.requests]),
                      flush=True)  # fmt: skip
                continue
            if word == "hang":
                upstream.script(fault=Fault("hang"), times=int(number))
            elif word == "hang-in-stream":
                upstream.script(text="one two three four", fault=Fault("hang", at=2), times=int(number))
            elif word == "release":
                for _ in range(int(number)):
                    upstream.release()
            elif word == "forget":
                upstream.forget()
            print("done", flush=True)


if __name__ == "__main__":
    main()

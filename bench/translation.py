"""Plain calls whose caller and upstream speak different dialects, beside those that pass through."""

from contextlib import ExitStack
from statistics import median

from bench import peers
from bench.loads import Closed, wrk
from bench.machine import NotStarted
from bench.plan import Plan, Results, say
from bench.servers import Gateway, upstreams
from bench.wire import ANTHROPIC_MODEL, CHAT, MESSAGES, OPENAI_MODEL, Ask, anthropic, bearer, chat

CONNECTIONS = 16


def measure(plan: Plan) -> Results:
    """Measure both ways, and LiteLLM's where it is installed."""
    folder = plan.place("translation")
    found: dict[str, list[Closed]] = {}
    missing = []
    with ExitStack() as stack:
        ports = stack.enter_context(upstreams(folder))
        gateway = Gateway(plan.place("gateway") / "data")
        stack.enter_context(gateway.serve())
        where = f"http://127.0.0.1:{ports.whole}/v1"
        openai, claude = bearer(gateway.token(where)[1]), bearer(gateway.token(where, "anthropic")[1])
        asks = {
            "AIlink, OpenAI passed through": Ask(gateway.port, CHAT, openai, chat()),
            "AIlink, Anthropic passed through": Ask(gateway.port, MESSAGES, claude, anthropic()),
            "AIlink, OpenAI to Anthropic": Ask(gateway.port, CHAT, claude, chat(ANTHROPIC_MODEL)),
            "AIlink, Anthropic to OpenAI": Ask(gateway.port, MESSAGES, openai, anthropic(OPENAI_MODEL)),
        }
        for peer in peers.ALL:
            try:
                up = stack.enter_context(peers.up(peer, plan.folder / f"{peer.name} translation", ports.whole))
                if up.translated is not None:
                    asks[f"{peer.name}, OpenAI to Anthropic"] = up.translated
            except (peers.NotInstalled, NotStarted) as error:
                missing.append({"name": peer.name, "why": str(error)})
        for turn in range(plan.rounds + 1):
            for name, ask in asks.items():
                load = wrk(ask, CONNECTIONS, plan.seconds if turn else 1, folder)
                if turn:
                    found.setdefault(name, []).append(load)
    for name, loads in found.items():
        say(f"{name:36} {median(load.rate for load in loads):>9,.0f} req/s")
    return {
        "rows": [{"name": name, "loads": [load._asdict() for load in loads]} for name, loads in found.items()],
        "missing": missing,
    }

"""Govern: holds a call to the policies of its token and project, before it is made and, in phase post, its reply.

What is in the exchange behind this stage is what is approved, hashed and sent. Policies in shadow mode are judged by
the request as it came, and hold nothing up.
"""

from collections.abc import Awaitable
from functools import partial

from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.grant import Grant
from ailink_gateway.policy.compiled import NO_POLICIES, Policies
from ailink_gateway.policy.facts import Facts
from ailink_gateway.policy.judge import enforce, observe
from ailink_gateway.policy.replies import Answer, abandon, gather, watched, without_length
from ailink_gateway.policy.run import Run, Tools
from ailink_gateway.ports import Limiter, Spending, Spent
from ailink_gateway.stages import Proceed
from ailink_gateway.targets import Resolver
from ailink_provider.errors import Failure
from ailink_provider.transport import Sender

NOTHING_SPENT = Spent(0, 0, 0, 0, 0)


class Govern:
    """Needs what counts calls, what finds targets, and what carries webhooks.

    Args:
        ledger: what knows of spend; without one, a call is refused where a rule goes by spend.
        approvals: whether a stage behind this one has people decide; if not, what wants an approval is refused.
    """

    def __init__(
        self,
        limiter: Limiter,
        resolver: Resolver,
        sender: Sender,
        *,
        ledger: Spending | None = None,
        approvals: bool = False,
    ) -> None:
        self._tools = Tools(limiter, resolver, sender)
        self._ledger = ledger
        self._approvals = approvals

    def __call__(self, exchange: Exchange, proceed: Proceed) -> Awaitable[Reply]:
        grant = exchange.grant
        assert grant is not None  # Authenticate stands before this stage
        return proceed(exchange) if grant.policies is NO_POLICIES else self._govern(exchange, proceed, grant.policies)

    async def _govern(self, exchange: Exchange, proceed: Proceed, policies: Policies) -> Reply:
        exchange.retry = policies.retry
        if policies.shadow_pre:
            shadow = self._run(exchange, shadow=True)
            exchange.shadow_violations += observe(policies.shadow_pre, shadow)
        run = self._run(exchange)
        exchange.policy_result = "allow"
        try:
            await enforce(policies.pre, run)
            if exchange.approvals_needed:
                self._need_approval(exchange)
            if policies.judges_replies:
                return await self._judge_reply(exchange, proceed, policies, run)
        except Failure as failure:
            if failure.policy_name is not None:
                exchange.policy_result, exchange.policy_name = "deny", failure.policy_name
            raise
        return await proceed(exchange)

    def _run(self, exchange: Exchange, *, shadow: bool = False) -> Run:
        assert exchange.grant is not None
        facts = Facts(exchange, partial(self._spent, exchange.grant))
        return Run(exchange, facts, self._tools, "shadow" if shadow else "enforce")

    def _spent(self, grant: Grant, scope: str) -> Spent:
        ledger = self._ledger
        if ledger is None:
            raise Failure("policy_denied", "A policy goes by what was spent, which is not counted here.",
                          reason="spend_unknown")  # fmt: skip
        token_id = grant.token_id if scope == "token" else None
        found = ledger.spent("project", grant.project_id) if token_id is None else ledger.spent("token", token_id)
        return found or NOTHING_SPENT

    def _need_approval(self, exchange: Exchange) -> None:
        exchange.policy_result = "approval"
        exchange.policy_name = str(exchange.approvals_needed[0]["policy_name"])
        if not self._approvals:
            raise Failure(
                "policy_denied",
                f"The policy {exchange.policy_name} wants a person to approve this call, and approvals are not "
                "available here.",
                reason="approval_required",
                policy_name=exchange.policy_name,
            )

    # --- replies ---------------------------------------------------------------------------------

    async def _judge_reply(self, exchange: Exchange, proceed: Proceed, policies: Policies, run: Run) -> Reply:
        try:
            reply = await proceed(exchange)
        except Failure as failure:
            run.facts.answer = Answer(exchange, failure.status, [], b"")
            self._watch(exchange, policies, run.facts.answer)
            await enforce(policies.post, run)
            raise
        if exchange.approval_id is not None and exchange.upstream_status is None:
            return reply  # what an approval answers was judged when it was sent, or will be
        if any(policy.reads_reply for policy in policies.post):
            reply.body = await gather(reply)
            reply.headers = without_length(reply.headers) if exchange.method != "HEAD" else reply.headers
        whole = reply.body if isinstance(reply.body, bytes) else None
        run.facts.answer = answer = Answer(exchange, reply.status, reply.headers, whole)
        if whole is None and any(policy.reads_reply for policy in policies.shadow_post):
            self._watch_body(exchange, policies, reply)
        else:
            self._watch(exchange, policies, Answer(exchange, reply.status, list(reply.headers), whole))
        try:
            await enforce(policies.post, run)
        except BaseException:
            await abandon(reply, begun=exchange.route.kind == "model")
            raise
        reply.headers = answer.headers
        if answer.data is not None:
            reply.body = answer.data
        return reply

    def _watch(self, exchange: Exchange, policies: Policies, answer: Answer) -> None:
        if policies.shadow_post:
            run = self._run(exchange, shadow=True)
            run.facts.answer = answer
            exchange.shadow_violations += observe(policies.shadow_post, run)

    def _watch_body(self, exchange: Exchange, policies: Policies, reply: Reply) -> None:
        assert not isinstance(reply.body, bytes)
        status, headers = reply.status, list(reply.headers)

        def judge(data: bytes | None) -> None:
            self._watch(exchange, policies, Answer(exchange, status, headers, data))

        reply.body = watched(reply.body, lambda: exchange.measured.complete, judge)

"""What a policy's document becomes: data and closures, immutable, read by the data plane. Compiles nothing itself."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ailink_provider.errors import Failure

if TYPE_CHECKING:
    from ailink_gateway.grant import Retry
    from ailink_gateway.policy.run import Run

Mode: TypeAlias = Literal["enforce", "shadow"]
Phase: TypeAlias = Literal["pre", "post"]
Scope: TypeAlias = Literal["token", "project"]


class _Allow:
    def __repr__(self) -> str:
        return "ALLOW"


ALLOW: Final = _Allow()
"""The verdict that ends a policy: what its other rules say no longer matters."""

Verdict: TypeAlias = "_Allow | Failure | Awaitable[Failure | None] | None"
Foresight: TypeAlias = "_Allow | Failure | str | None"


class Action(Protocol):
    """What a rule does. Each is made once and judges many calls."""

    @property
    def name(self) -> str:
        """What it is called in documents."""

    @property
    def rewrites(self) -> bool:
        """Whether ``apply`` changes the request or the reply, and nothing outside of it."""

    @property
    def reads_reply(self) -> bool:
        """Whether it needs the whole body of a reply."""

    def apply(self, run: "Run", rule: "Rule") -> Verdict:
        """Do it: return None to go on, ALLOW, the ``Failure`` of a refusal, or what is to be awaited for it."""

    def foresee(self, run: "Run", rule: "Rule") -> "Foresight":
        """Return what ``apply`` would do, with no effect but on counters of ``run.mode``: the refusal, ALLOW, a
        short text such as "tag a=b", or None for nothing.
        """


class Rule(Struct, frozen=True):
    """One rule. ``key`` names it and its content: an approval holds for this rule and not for what it becomes.

    ``when`` is None for always.
    """

    index: int
    key: str
    when: Callable[[Any], bool] | None
    actions: tuple[Action, ...]


class Policy(Struct, frozen=True):
    """One policy. ``scope`` is what it is attached to; ``reads_reply`` that it must have the whole body of a reply."""

    id: str
    name: str
    version: int
    mode: Mode
    phase: Phase
    rules: tuple[Rule, ...]
    retry: "Retry | None" = None
    reads_reply: bool = False
    limits_token: bool = False
    scope: Scope = "token"


class Policies(Struct, frozen=True):
    """All policies of a grant: the project's, then the token's, by mode and phase.

    ``own_rate_limit`` says that one of them limits every call of the token by itself, in place of the default limit.
    """

    pre: tuple[Policy, ...] = ()
    post: tuple[Policy, ...] = ()
    shadow_pre: tuple[Policy, ...] = ()
    shadow_post: tuple[Policy, ...] = ()
    retry: "Retry | None" = None
    own_rate_limit: bool = False

    @property
    def judges_replies(self) -> bool:
        """Whether any looks at replies."""
        return bool(self.post or self.shadow_post)


NO_POLICIES: Final = Policies()


def gather(project: Iterable[Policy], token: Iterable[Policy]) -> Policies:
    """Return the policies that are attached to a project and to a token, as a grant has them."""
    attached = [*(replace(policy, scope="project") for policy in project), *token]
    if not attached:
        return NO_POLICIES
    enforced = [policy for policy in attached if policy.mode == "enforce"]
    shadow = [policy for policy in attached if policy.mode == "shadow"]
    retries = [policy.retry for policy in enforced if policy.retry is not None]
    return Policies(
        pre=tuple(policy for policy in enforced if policy.phase == "pre" and policy.rules),
        post=tuple(policy for policy in enforced if policy.phase == "post" and policy.rules),
        shadow_pre=tuple(policy for policy in shadow if policy.phase == "pre"),
        shadow_post=tuple(policy for policy in shadow if policy.phase == "post"),
        retry=retries[-1] if retries else None,
        own_rate_limit=any(policy.limits_token for policy in enforced),
    )

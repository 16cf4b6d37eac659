"""Configuration as code: projects, policies, services and tokens as one YAML file, without a secret, and back again.

Things are named in it, not numbered, so that a file fits any gateway. An import creates and changes by name, deletes
nothing, and happens whole or not at all; a dry run is the same import, undone.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import yaml
from fastapi import Query, Request, Response
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from sqlalchemy import Connection

from ailink_gateway.control.authentication import Caller
from ailink_gateway.control.context import Given
from ailink_gateway.control.declared import KINDS, NAMED, Kind, Names, as_declared, as_stored
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.fields import Input
from ailink_gateway.control.resource import resource
from ailink_gateway.control.scopes import lacking
from ailink_gateway.store.configuration import Present, read_configuration
from ailink_gateway.store.projects import DEFAULT
from ailink_gateway.vault import Vault
from ailink_provider.errors import Failure
from ailink_provider.transport import Guard
from ailink_provider.yaml_nodes import plain, read_yaml

VERSION = "1.0"
DEPTH_LIMIT = 64
YAML = "application/yaml"
_ENTRIES = 10_000
_BODY = {"requestBody": {"required": True, "content": {YAML: {"schema": {"type": "string"}}}}}

router = resource("config")


class Document(Input):
    """A file. A section that is missing says nothing of its kind."""

    version: Annotated[str, BeforeValidator(str)] = VERSION
    projects: list[dict[str, Any]] | None = Field(None, max_length=_ENTRIES)
    policies: list[dict[str, Any]] | None = Field(None, max_length=_ENTRIES)
    services: list[dict[str, Any]] | None = Field(None, max_length=_ENTRIES)
    tokens: list[dict[str, Any]] | None = Field(None, max_length=_ENTRIES)


class ImportQuery(Input):
    """How to import."""

    dry_run: bool = Field(False, description="Show what would change, and change nothing.")


class Changed(BaseModel):
    """How one field changes."""

    before: Any
    after: Any


class Named(BaseModel):
    """What is meant."""

    kind: Literal["project", "policy", "service", "token"]
    project: str | None = Field(description="The project's name; null for a project itself.")
    name: str


class Change(Named):
    """What is made or changed."""

    action: Literal["create", "update"]
    fields: dict[str, Changed] = Field(description="What differs from the file, by field.")


class NewToken(BaseModel):
    """A token that was made, with its secret: shown this once."""

    project: str
    name: str
    id: str
    token_id: str = Field(description="The whole token; only its fingerprint is stored.")


class Imported(BaseModel):
    """What an import did, or would do."""

    dry_run: bool
    drift: bool = Field(description="Whether the gateway was not as the file says, or has what the file has not.")
    changes: list[Change]
    unchanged: int = Field(description="How many entries were as the file says.")
    not_in_file: list[Named] = Field(description="What is there beside it, of the kinds that the file has.")
    tokens: list[NewToken]


@router.get("/export", response_class=Response, responses={200: {"content": {YAML: {}}}})
async def export_config(given: Given) -> Response:
    """Export projects, policies, services and tokens as YAML, in the same order each time. It holds no secret."""
    present = await given.store.read(read_configuration)
    return Response(await asyncio.to_thread(_written, present), media_type=YAML)


@router.post("/import", responses=refusals(409), openapi_extra=_BODY)
async def import_config(
    query: Annotated[ImportQuery, Query()], request: Request, given: Given, caller: Caller
) -> Imported:
    """Bring the gateway to what a YAML file says: create what is missing, change what differs, delete nothing.

    Things are found by their name within their project; what an entry does not mention keeps its value. All of it is
    done, or nothing. The secrets of new tokens are in the answer, and nowhere else. Beside `config:write` it takes the
    scope of each kind that the file has, such as `tokens:write`.
    """
    document = await asyncio.to_thread(_read, await request.body())
    sections = document.model_dump(exclude={"version"}, exclude_none=True)
    if missing := lacking(caller.scopes, (f"{section}:write" for section in sections)):
        message = f"This admin key lacks what the file needs: {', '.join(missing)}."
        raise Failure("policy_denied", message, reason="scope_missing")
    run = _Import(document, given.vault, given.guard, given.now())
    if not query.dry_run:
        return await given.store.change(run)
    try:
        await given.store.write(_undone, run)
    except _Undone as undone:
        return undone.imported.model_copy(update={"dry_run": True, "tokens": []})
    raise AssertionError("a dry run was kept")


class _Undone(Exception):
    """Carries what a dry run found out of the transaction that it undoes."""

    def __init__(self, imported: Imported) -> None:
        self.imported = imported


def _undone(connection: Connection, run: "_Import") -> None:
    raise _Undone(run(connection))


def _read(body: bytes) -> Document:
    try:
        tree = plain(read_yaml(body.decode(), _malformed, DEPTH_LIMIT))
    except UnicodeDecodeError:
        raise _malformed(0, "", "this is not UTF-8") from None
    try:
        document = Document.model_validate(tree if tree is not None else {})
    except ValidationError as error:
        raise _invalid("", error) from None
    if document.version != VERSION:
        raise Failure("validation_error", f"version must be {VERSION!r}: this file is for another.", param="version")
    return document


def _malformed(line: int, where: str, what: str) -> Failure:
    place = f" in line {line}" if line else ""
    return Failure("validation_error", f"The file cannot be read{place}: {what}.", param=where or "body")


def _invalid(where: str, error: ValidationError) -> Failure:
    details = []
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        told = (NAMED.get(part, part) for part in map(str, one["loc"]))
        field = ".".join([part for part in (where, *told) if part]) or "body"
        details.append({"field": field, "message": one["msg"]})
    listed = "; ".join(f"{detail['field']}: {detail['message']}" for detail in details[:20])
    return Failure("validation_error", f"The file is not valid. {listed.removesuffix('.')}.", param=details[0]["field"],
                   details=details[:20])  # fmt: skip


@contextmanager
def _placed(where: str) -> Iterator[None]:
    """Have what is wrong with an entry tell its place in the file."""
    try:
        yield
    except Failure as failure:
        param = where if failure.param is None else f"{where}.{NAMED.get(failure.param, failure.param)}"
        raise Failure(failure.code, f"{where}: {failure.message}", param=param) from None


class _Dumper(yaml.SafeDumper):
    """Writes every value out: what is read must have no alias."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True."""
        return True


def _written(present: Present) -> str:
    names = Names(present)
    document: dict[str, Any] = {"version": VERSION}
    for kind in KINDS:
        rows = getattr(present, kind.section)
        declared = [as_declared(kind, row, names) for row in rows]
        document[kind.section] = sorted(declared, key=lambda entry: (entry.get("project", ""), entry["name"]))
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Import:
    """One import, to be run in a transaction."""

    def __init__(self, document: Document, vault: Vault, guard: Guard, now: float) -> None:
        self._document, self._vault, self._guard, self._now = document, vault, guard, now

    def __call__(self, connection: Connection) -> Imported:
        """Do it, and return what was done. Raises ``Failure`` naming the entry that cannot be."""
        present = read_configuration(connection)
        self._names = Names(present)
        self._changes: list[Change] = []
        self._tokens: list[NewToken] = []
        self._unchanged = 0
        not_in_file: list[Named] = []
        new = self._make_projects(connection, present)
        # Projects come last: what they refer to is there by then.
        for kind in (*KINDS[1:], KINDS[0]):
            entries = getattr(self._document, kind.section)
            if entries is None:
                continue
            rows = {self._key(kind, row): row for row in getattr(present, kind.section)}
            seen: set[tuple[str, str]] = set()
            for index, entry in enumerate(entries):
                where = f"{kind.section}.{index}"
                key = self._key_of(kind, entry, where)
                if key in seen:
                    raise Failure("validation_error", f"{where}: {key[1]!r} stands twice in the file.", param=where)
                seen.add(key)
                self._bring(connection, kind, entry, where, key, rows.get(key), kind is KINDS[0] and key[1] in new)
            not_in_file += [
                Named(kind=kind.name, project=key[0] or None, name=key[1])
                for key in sorted(rows)
                if key not in seen
            ]
        return Imported(
            dry_run=False,
            drift=bool(self._changes or not_in_file),
            changes=self._changes,
            unchanged=self._unchanged,
            not_in_file=not_in_file,
            tokens=self._tokens,
        )

    def _make_projects(self, connection: Connection, present: Present) -> set[str]:
        """Make the projects that are missing, as yet without policies, and return their names."""
        project, new = KINDS[0], set()
        for index, entry in enumerate(self._document.projects or []):
            where = f"projects.{index}"
            _, name = self._key_of(project, entry, where)
            if name not in self._names.project_ids:
                row, _ = project.create(connection, _valid(project, {"name": name}, self._names, where), self._vault,
                                        self._now)  # fmt: skip
                self._names.add(project, row)
                present.projects.append(row)
                new.add(name)
        return new

    def _key(self, kind: Kind, row: Mapping[str, Any]) -> tuple[str, str]:
        return ("" if kind is KINDS[0] else self._names.projects[row["project_id"]], row["name"])

    def _key_of(self, kind: Kind, entry: Mapping[str, Any], where: str) -> tuple[str, str]:
        name, project = entry.get("name"), entry.get("project", self._names.projects[DEFAULT])
        if not isinstance(name, str) or not isinstance(project, str):
            message = f"{where} needs a name, and its project is given by name; both are text."
            field = "project" if isinstance(name, str) else "name"
            raise Failure("validation_error", message, param=f"{where}.{field}")
        if kind is KINDS[0]:
            return "", name
        if project not in self._names.project_ids:
            message = f"{where}: there is no project {project[:64]!r}; list it under projects."
            raise Failure("validation_error", message, param=f"{where}.project")
        return project, name

    def _bring(
        self,
        connection: Connection,
        kind: Kind,
        entry: Mapping[str, Any],
        where: str,
        key: tuple[str, str],
        row: Mapping[str, Any] | None,
        new: bool,
    ) -> None:
        """Make or change one thing, unless it is as its entry says. ``new`` is what was made just now."""
        before = {} if row is None else as_declared(kind, row, self._names)
        body = _valid(kind, {**before, **_whole(kind, before, entry)}, self._names, where)
        if row is None:
            new, before = True, {}
            kind.check(self._guard, body.model_dump(), where)
            with _placed(where):
                row, secret = kind.create(connection, body, self._vault, self._now)
            self._names.add(kind, row)
            if secret is not None:
                self._tokens.append(NewToken(project=key[0], name=key[1], id=row["id"], token_id=secret))
        elif fields := kind.differing(body, row):
            kind.check(self._guard, body.model_dump(), where)
            with _placed(where):
                row = kind.change(connection, row, fields, self._now)
        elif not new:
            self._unchanged += 1
            return
        differing = {
            name: Changed(before=before.get(name), after=value)
            for name, value in as_declared(kind, row, self._names).items()
            if name not in ("project", "name") and (name not in before or before[name] != value)
        }
        action: Literal["create", "update"] = "create" if new else "update"
        self._changes.append(
            Change(kind=kind.name, project=key[0] or None, name=key[1], action=action, fields=differing)
        )


def _valid(kind: Kind, entry: Mapping[str, Any], names: Names, where: str) -> BaseModel:
    try:
        return as_stored(kind, entry, names, where)
    except ValidationError as error:
        raise _invalid(where, error) from None


def _whole(kind: Kind, before: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry in which a mapping that is mentioned in part keeps the rest of what it had."""
    return {
        name: {**before[name], **value}
        if name in kind.partial and isinstance(value, dict) and isinstance(before.get(name), dict)
        else value
        for name, value in entry.items()
    }

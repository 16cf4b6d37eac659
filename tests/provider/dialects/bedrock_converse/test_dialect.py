"""What the dialect is called, where it is asked, how it shows its key, how it lists models."""

import subprocess
import sys

import pytest
from msgspec import Raw

from ailink_provider.catalog import Facts, facts
from ailink_provider.chat import Chat
from ailink_provider.dialects.bedrock_converse import DIALECT
from ailink_provider.dialects.bedrock_converse.words import NAME, seal_blob, unseal_blob, vendor
from ailink_provider.dialects.seals import seal, unseal


@pytest.mark.parametrize(("model", "encoded"), [
    ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1%3A0"),
    ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.meta.llama4-v1:0",
     "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.meta.llama4-v1%3A0"),
    ("../../x?y#z", "..%2F..%2Fx%3Fy%23z"),
])
def test_a_model_stands_encoded_in_the_path(converse, model, encoded):
    assert converse.path(model, False) == f"/model/{encoded}/converse"
    assert converse.path(model, True) == f"/model/{encoded}/converse-stream"


def test_the_key_is_a_bearers():
    assert (DIALECT.name, DIALECT.credential_header) == ("bedrock_converse", ("authorization", "Bearer "))
    assert (DIALECT.operations["chat"].name, DIALECT.operations["chat"].speaks) == ("chat", Chat)
    assert DIALECT.response_headers == ("x-amzn-requestid",)


def test_models_are_listed():
    assert DIALECT.write_models([("m", "amazon")]) == {"modelSummaries": [
        {"modelId": "m", "modelName": "m", "providerName": "amazon", "responseStreamingSupported": True}]}


def test_the_model_of_a_request_that_stays_is_left_to_the_path(converse):
    body = {"modelId": Raw(b'"m"'), "messages": Raw(b"[]")}
    converse.amend(body, "other", Facts())
    assert body == {"messages": Raw(b"[]")}


def test_it_needs_no_other_dialect():
    script = ("import sys, ailink_provider.dialects.bedrock_converse; "
              "print(*[name for name, room in sys.modules.items() "
              "if name.startswith('ailink_provider.dialects.') and hasattr(room, '__path__')])")
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == ["ailink_provider.dialects.bedrock_converse"]


@pytest.mark.parametrize(("model", "whose"), [
    ("anthropic.claude-v2", "anthropic"), ("us-gov.anthropic.claude-v2", "anthropic"), ("claude-opus-5", "anthropic"),
    ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-2-lite-v1:0", "amazon"),
    ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123", ""), ("openai.gpt-5.6-x", "openai"),
    ("moonshotai.kimi-k2.5", "moonshotai"), ("my.own.model", ""), ("anthropic", ""), ("", "")])
def test_an_id_tells_whose_model_it_is(model, whose):
    assert vendor(model) == whose


@pytest.mark.parametrize(("model", "like"), [
    ("global.anthropic.claude-opus-5-5-v1:0", "claude-opus-5-5"), ("openai.gpt-5.6-terra", "gpt-5"),
    ("arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
     "claude-sonnet-4-5"),
    ("amazon.nova-pro-v1:0", "a-model-that-nobody-knows"), ("gpt-4.1", "gpt-4.1-mini")])
def test_the_facts_of_a_model_are_found_behind_its_vendor(model, like):
    assert facts(model) == facts(like)


def test_proofs_find_their_way_back():
    for proof, signed_by in (("s", "bedrock_converse"), ("a:b==", "gemini")):
        assert unseal(seal(proof, signed_by, NAME), NAME) == (proof, signed_by)
        assert unseal_blob(seal_blob(proof, signed_by)) == (proof, signed_by)
    assert seal("s", None, NAME) == "s"
    assert unseal(None, NAME) == unseal("", NAME) == (None, "bedrock_converse")
    assert unseal("ailink:gemini", NAME) == ("ailink:gemini", "bedrock_converse")

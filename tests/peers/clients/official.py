"""DingTalk's own SDK tells a group and people something, asks who has read it, and takes it back.

usage: official.py HOST:PORT
"""

import json
import sys
import urllib.request

from alibabacloud_dingtalk.oauth2_1_0 import models as oauth2
from alibabacloud_dingtalk.oauth2_1_0.client import Client as OAuth2
from alibabacloud_dingtalk.robot_1_0 import models as robot
from alibabacloud_dingtalk.robot_1_0.client import Client as Robot
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_util.models import RuntimeOptions
from Tea.exceptions import TeaException

HOST = sys.argv[1]
CONVERSATION = "cidA=="
SAID = {"title": "[FIRING:1] Disk", "text": "### Disk\n\n- **node-1** 盘满了 91 %"}


def main():
    config = Config(protocol="http", endpoint=HOST)
    bot = Bot(Robot(config), token(OAuth2(config)))
    group(bot)
    people(bot)
    card(bot)
    refusals(bot)


def token(client):
    def ask(secret):
        asked = oauth2.GetAccessTokenRequest(app_key="ding1", app_secret=secret)
        return client.get_access_token(asked).body

    got = ask("app-s3cret")
    same(got.expire_in, 7200)
    same(ask("app-s3cret").access_token, got.access_token)
    refused("invalidClientIdOrSecret", lambda: ask("guess"))
    return got.access_token


class Bot:
    """Calls by their names, with the token in the header that each of them has a class of its own for."""

    def __init__(self, client, token):
        self.client = client
        self.token = token

    def __call__(self, call, kind, **members):
        headers = getattr(robot, kind + "Headers")(x_acs_dingtalk_access_token=self.token)
        request = getattr(robot, kind + "Request")(robot_code="ding1", **members)
        return getattr(self.client, call)(request, headers, RuntimeOptions()).body

    def to_group(self, key="sampleMarkdown", param=SAID, conversation=CONVERSATION):
        return self(
            "org_group_send_with_options", "OrgGroupSend",
            msg_key=key, msg_param=json.dumps(param), open_conversation_id=conversation,
        )

    def to_people(self, user_ids, key="sampleMarkdown", param=SAID):
        return self(
            "batch_send_otowith_options", "BatchSendOTO",
            msg_key=key, msg_param=json.dumps(param), user_ids=user_ids,
        )

    def read_by_people(self, key):
        return self("batch_otoquery_with_options", "BatchOTOQuery", process_query_key=key)

    def read_in_group(self, key, **members):
        return self(
            "org_group_query_with_options", "OrgGroupQuery",
            process_query_key=key, open_conversation_id=CONVERSATION, **members,
        )


def group(bot):
    key = bot.to_group().process_query_key
    same(bot.read_in_group(key).read_user_ids, [])
    for person in ("u1", "u2"):
        reads(person=person, group="everybody")
    first = bot.read_in_group(key, max_results=1)
    same((first.send_status, first.read_user_ids, first.has_more), ("SUCCESS", ["u1"], True))
    second = bot.read_in_group(key, max_results=1, next_token=first.next_token)
    same((second.read_user_ids, second.has_more), (["u2"], False))
    recalled = bot(
        "org_group_recall_with_options", "OrgGroupRecall",
        process_query_keys=[key, "nonsense"], open_conversation_id=CONVERSATION,
    )
    same(recalled.success_result, [key])
    same(list(recalled.failed_result), ["nonsense"])
    same(bot.read_in_group(key).send_status, "RECALLED")


def people(bot):
    sent = bot.to_people(["u1", "u2", "u404"])
    same(sent.invalid_staff_id_list, ["u404"])
    same(sent.flow_controlled_staff_id_list, [])
    reads(person="u2")
    read = bot.read_by_people(sent.process_query_key)
    same(read.send_status, "SUCCESS")
    same(
        [(who.user_id, who.name, who.read_status) for who in read.message_read_info_list],
        [("u1", "Ann", "UNREAD"), ("u2", "Bao", "READ")],
    )
    recalled = bot(
        "batch_recall_otowith_options", "BatchRecallOTO", process_query_keys=[sent.process_query_key]
    )
    same(recalled.success_result, [sent.process_query_key])
    same(bot.read_by_people(sent.process_query_key).send_status, "RECALLED")


def card(bot):
    bot.to_people(["u1"], "sampleActionCard2", {
        "title": "[FIRING:1] Disk", "text": "### Disk",
        "actionTitle1": "Runbook", "actionURL1": "https://runbooks.example.com/disk",
        "actionTitle2": "Silence", "actionURL2": "https://alerts.example.com/silence",
    })


def refusals(bot):
    refused("invalid.openConversationId", lambda: bot.to_group(conversation="cidB=="))
    refused("invalidParameter.msgParam.tooLong", lambda: bot.to_group(param={"content": "x" * 15001}))
    refused("invalidParameter.msgKey.invalid", lambda: bot.to_group("sampleMarkDown"))
    refused("invalidParameter.userIds.overMax", lambda: bot.to_people([f"u{n}" for n in range(21)]))
    refused("invalid.processQueryKey", lambda: bot.read_by_people("nonsense"))
    refused("InvalidAuthentication", lambda: Bot(bot.client, "guess").to_group())


def reads(**who):
    body = json.dumps(who).encode()
    urllib.request.urlopen(f"http://{HOST}/_sim/read", body).close()


def same(seen, expected):
    assert seen == expected, f"{seen!r} is not {expected!r}"


def refused(code, call):
    try:
        seen = call()
    except TeaException as error:
        same(error.code, code)
    else:
        raise AssertionError(f"{seen!r} instead of {code}")


main()

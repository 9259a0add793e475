"""dingapi, a client for the older API, sends work notices and asks what became of them.

usage: notices.py HOST:PORT
"""

import sys
import time

from dingapi.client import DingApi
from dingapi.exception import DingRequestError

PAGE = "https://alerts.example.com/a"


def main():
    api = client()
    task = api.message.asyncsend_v2(text("node-1 盘满了"), ["u1", "u2", "u404"])["task_id"]
    result = outcome(api, task)
    same(sorted(result["unread_user_id_list"]), ["u1", "u2"])
    same(result["invalid_user_id_list"], ["u404"])
    again = api.message.asyncsend_v2(text("node-1 盘满了"), ["u1"])["task_id"]
    result = outcome(api, again)
    same(result["forbidden_user_id_list"], ["u1"])
    same(result["forbidden_list"][0]["code"], "143106")
    card = {"title": "Disk", "markdown": "### Disk", "single_title": "open", "single_url": PAGE}
    api.message.asyncsend_v2({"msgtype": "action_card", "action_card": card}, "u2")
    api.message.asyncsend_v2(text("to all"), to_all_user=True)
    refused(40056, lambda: client(agent_id=8).message.asyncsend_v2(text("x"), ["u1"]))
    refused(40035, lambda: api.message.asyncsend_v2(text("x")))
    refused(33012, lambda: api.message.asyncsend_v2(text("x"), ["u404"]))
    refused(45002, lambda: api.message.asyncsend_v2(text("x" * 2048), ["u1"]))
    refused(40035, lambda: api.message.getsendresult(1))
    refused(40096, lambda: client(app_secret="guess").message.asyncsend_v2(text("x"), ["u1"]))


def client(app_secret="app-s3cret", agent_id=7):
    api = DingApi("ding1", app_secret, agent_id)
    api.host = f"http://{sys.argv[1]}"
    return api


def text(content):
    return {"msgtype": "text", "text": {"content": content}}


def outcome(api, task):
    while api.message.getsendprogres(task)["progress"]["status"] != 2:
        time.sleep(0.1)
    return api.message.getsendresult(task)["send_result"]


def same(seen, expected):
    assert seen == expected, f"{seen!r} is not {expected!r}"


def refused(code, call):
    try:
        seen = call()
    except DingRequestError as error:
        same(error.errcode, code)
    else:
        raise AssertionError(f"{seen!r} instead of {code}")


main()

"""DingtalkChatbot, a client for custom bots, says every type of message, signed.

usage: webhook.py HOST:PORT
"""

import sys

from dingtalkchatbot.chatbot import ActionCard, CardItem, DingtalkChatbot

URL = f"http://{sys.argv[1]}/robot/send?access_token=token-of-ops"
PAGE, PICTURE = "https://alerts.example.com/a?b=1", "https://static.example.com/red.png"


def main():
    bot = DingtalkChatbot(URL, secret="SEC0123456789")
    accepted(bot.send_text("node-1 盘满了", at_mobiles=["13800000000"]))
    accepted(bot.send_markdown("Disk", f"### Disk\n\n- [node-1]({PAGE})", is_at_all=True))
    accepted(bot.send_link("Disk", "node-1", PAGE, PICTURE))
    accepted(bot.send_link("Disk", "node-1", PAGE))
    for count in (1, 3):
        buttons = [CardItem(f"open {n}", PAGE) for n in range(count)]
        # The client's own default is a number, where DingTalk documents a text.
        card = ActionCard("Disk", "### Disk", buttons, btn_orientation="0", hide_avatar="0")
        accepted(bot.send_action_card(card))
    accepted(bot.send_feed_card([CardItem("Disk", PAGE, PICTURE), CardItem("CPU", PAGE, PICTURE)]))
    refused(400105, bot.send_image(PICTURE))
    refused(310000, DingtalkChatbot(URL, secret="SECguess").send_text("node-1"))


def accepted(answer):
    assert answer == {"errcode": 0, "errmsg": "ok"}, answer


def refused(code, answer):
    assert answer["errcode"] == code, answer


main()

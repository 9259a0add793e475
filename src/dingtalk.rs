//! DingTalk's custom-bot webhook: signing, messages, answers, the client, and a stand-in.

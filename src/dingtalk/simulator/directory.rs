//! Looks people up, by what is known of them outside the organisation.

use serde_json::{Value, json};

use crate::dingtalk::simulator::oapi::{Answer, Errcode, object};
use crate::dingtalk::simulator::people::People;
use crate::dingtalk::simulator::rules::Request;

/// By what somebody is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// `v2/user/getbymobile`.
    Mobile,
    /// `user/getbyunionid`.
    UnionId,
}

/// Who it is.
pub(super) fn look_up(by: By, people: &People, request: &Request<'_>) -> Answer {
    let asked = object(request)?;
    let member = match by {
        By::Mobile => "mobile",
        By::UnionId => "unionid",
    };
    let asked = asked.get(member).and_then(Value::as_str);
    let asked = asked.filter(|asked| !asked.is_empty());
    let asked = asked.ok_or_else(|| Errcode::Code(400_002, format!("无效的参数 {member}")))?;
    if by == By::Mobile && !is_number(asked) {
        return Err(Errcode::Code(40104, "不合法的手机号".to_owned()));
    }
    let person = people.find(|person| match by {
        By::Mobile => person.mobile.as_deref() == Some(asked),
        By::UnionId => person.union_id.as_deref() == Some(asked),
    });
    let person = person.ok_or_else(|| Errcode::Code(60121, "找不到该用户".to_owned()))?;
    Ok(match by {
        By::Mobile => json!({"result": {"userid": person.user_id}}),
        By::UnionId => json!({"result": {"userid": person.user_id, "contact_type": 0}}),
    })
}

/// Digits, with the code of a country before them or without.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dingtalk::simulator::caller::Caller;
    use crate::dingtalk::simulator::fault::{Fault, Injection};
    use crate::dingtalk::{BY_MOBILE_PATH, BY_UNION_ID_PATH};

    #[test]
    fn people_are_known_by_their_number_and_their_union_id() {
        let mut caller = Caller::new();
        let mut ask = |path: &str, asked: Value| caller.post_older("ding1", path, &asked);
        let found = ask(BY_MOBILE_PATH, json!({"mobile": "13900000000"}));
        assert_eq!(
            (&found["errcode"], &found["result"]),
            (&json!(0), &json!({"userid": "u2"}))
        );
        let found = ask(BY_UNION_ID_PATH, json!({"unionid": "un1"}));
        assert_eq!(found["result"], json!({"userid": "u1", "contact_type": 0}));
        for (path, asked, errcode) in [
            (BY_MOBILE_PATH, json!({"mobile": "13700000000"}), 60121),
            (BY_MOBILE_PATH, json!({"mobile": "Ann"}), 40104),
            (BY_MOBILE_PATH, json!({"mobile": 13_900_000_000_u64}), 400_002),
            (BY_MOBILE_PATH, json!({}), 400_002),
            (BY_UNION_ID_PATH, json!({"unionid": "un2"}), 60121),
            (BY_UNION_ID_PATH, json!({"unionid": ""}), 400_002),
            (BY_UNION_ID_PATH, json!([]), 40035),
        ] {
            assert_eq!(ask(path, asked.clone())["errcode"], errcode, "{asked}");
        }
    }

    #[test]
    fn a_look_up_can_be_made_to_fail() {
        let mut caller = Caller::new();
        caller.rules.inject(Injection {
            path: Some(BY_MOBILE_PATH.to_owned()),
            ..Injection::next(Fault::Errcode {
                errcode: 60020,
                errmsg: None,
                sub_code: None,
            })
        });
        let asked = json!({"mobile": "13900000000"});
        let mut ask = || caller.post_older("ding1", BY_MOBILE_PATH, &asked)["errcode"].clone();
        assert_eq!((ask(), ask()), (json!(60020), json!(0)));
        let stats = caller.rules.stats(caller.now());
        assert_eq!(stats.apps[0].calls[BY_MOBILE_PATH], 2);
    }
}

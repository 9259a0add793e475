//! What happens in a simulation, as a text of lines.
//!
//! A scenario is made as such a text, a failure is shrunk by taking lines and words out of it, and what is left is
//! printed; saved below `tests/sim/scripts` it is a test as it stands. So reading is tolerant: what names
//! something that is not there is left out.
//!
//! ```text
//! noise 7                                    the seed of delays
//! begin 2505600                              seconds of March at the begin: with this, the month ends in two days
//! source am expire=86400                     a source and its `expire_after` in seconds
//! plan p0 bot b0 per_minute=18 signed keyword
//! plan p0 receiver r0 bots=b0,b1 messages=3 fallback=r1
//! plan p0 receiver r2 console template=numbers
//! plan p0 app ap0 per_second=18 ask=u1,r3    an app of the organisation; `u1`, and the group of `r3`, may ask its bot
//! plan p0 receiver r3 bots=b0 group=ap0 people=ap0:u1,u2    told in three ways, and two people
//! plan p0 receiver r7 people=ap0:mobile:13800000003,unionid:n4    `u3` and `u4`, known by their numbers
//! plan p0 receiver r4 group=ap0 recall=resolved readstatus    or `superseded`
//! plan p0 receiver r5 notices=ap0:u1,u2 departments=ap0    told by work notices: two people, and all of them together
//! department 7 u1,u2                         who is in a department of the organisation
//! plan p0 receiver r9 departments=ap0:7,8        told by work notices: the people of these
//! plan p0 receiver r6 everybody=ap0              everybody by work notices, in place of departments
//! plan p0 receiver r8 group=ap0 message=image    the type of its messages, where all its ways have that
//! plan p0 quota 300                          messages a month through bots, `apiquota` through apps
//! plan p0 route root receiver=r0 wait=10 interval=60 repeat=14400
//! plan p0 route db under=root if=team=db receiver=r1 wait=1 interval=60 repeat=600 urgent continue
//! alert a0 from=am team=db severity=critical
//! alert a1 from=am picture=2 pages=3             with the second picture there is, and links to three pages
//! 0s fire a0 start=0 + end a1 start=-60 end=0    a body of two alerts, repeated until it is answered 2xx
//! 9.5s once fire a0                              a body that is sent once
//! 10s plan p1
//! 20s kill applied down=3                        a crash; a commit that runs is on disk, or `lost`
//! 30s stop down=3                                an orderly end, and a start 3 seconds later
//! 40s store fails | unreadable | slow=500 | well
//! 50s clock 3600                                 the wall clock is so many seconds ahead
//! 60s fault b0 html times=3                      `*` is every bot and app; times=0 is until the healing
//! 62s fault b0 errcode=88:40014              a code, or one that is wrapped; `busy` is -1
//! 63s fault ap0 code=403:Forbidden.x         a word of the newer API, with a status
//! 65s fault ap0 gone=u1 times=1                  nobody has that id; `held` is somebody who gets too many
//! 70s network down | slow=4000 | well
//! 80s heal                                       everything works again
//! 90s check                                      has everybody heard? (if nothing has happened for a while)
//! 92s read u1 r3                             a person reads what apps have said in the group of `r3`, or to `u1`
//! 94s hasten r1,r2                               somebody asks that what waits for them is told now (`digest now`)
//! 95s ask u1 app=ap0 in=r3 times=2 say firing team=db    a person writes to an app's bot in `r3`, or alone
//! 95s ask u1 app=ap0 session=0.2 say status      the session for the answer ends so many seconds after it was asked
//! 95s ask u1 app=ap0 session=elsewhere say status    its address is not DingTalk's
//! 95s forge ap0 say digest now                   somebody who has seen the last of that sends another body
//! 96s forge ap0 unsigned say digest now          somebody who has not; `stale` has what was signed two hours ago
//! 98s recalled r4/group a0                       by now what `r4` was told of `a0` in its group is taken back
//! 98s isread r4/direct/u1 a0                     by now it is known that `u1` has read of `a0`
//! 99s answered u1                                by now somebody who asked has been answered
//! 95s told r1 a0                                 by now the chat of `r1` shows `a0`
//! ```

use std::collections::BTreeMap;

use dingest::dingtalk::simulator::fault::Fault;

/// How long a session lasts that nobody says more of: DingTalk's hour and a half.
const SESSION_LIFE: u64 = 90 * 60_000;

/// A text with `key=value` words and plain words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words(Vec<String>);

impl Words {
    fn new(text: &str) -> Self {
        Self(text.split_whitespace().map(str::to_owned).collect())
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.0.iter().any(|known| known == word)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|word| word.split_once('=').filter(|(name, _)| *name == key))
            .map(|(_, value)| value)
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }

    /// Seconds, as milliseconds.
    pub(crate) fn seconds(&self, key: &str) -> Option<i64> {
        milliseconds(self.get(key)?)
    }

    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        listed(self.get(key).unwrap_or_default())
    }
}

/// Names with commas between them.
fn listed(text: &str) -> Vec<String> {
    let names = text.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn milliseconds(seconds: &str) -> Option<i64> {
    let seconds: f64 = seconds.trim_end_matches('s').parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "scripts last days")]
    Some((seconds * 1000.0).round() as i64)
}

/// A configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlanText {
    pub(crate) bots: BTreeMap<String, Words>,
    pub(crate) apps: BTreeMap<String, Words>,
    /// By their names in the configuration; `ways` says who they are.
    pub(crate) receivers: BTreeMap<String, Words>,
    /// In the order of the script, the root first.
    pub(crate) routes: Vec<(String, Words)>,
    pub(crate) quota: u64,
    pub(crate) api_quota: u64,
}

/// An alert: its source, and its labels besides `alertname`.
#[derive(Clone, Debug)]
pub(crate) struct AlertText {
    pub(crate) source: String,
    pub(crate) labels: Vec<(String, String)>,
    /// The number of its picture.
    pub(crate) picture: Option<u64>,
    /// How many pages it has links to.
    pub(crate) pages: usize,
}

/// What a sender says about one alert.
#[derive(Clone, Debug)]
pub(crate) struct Saying {
    pub(crate) alert: String,
    pub(crate) fires: bool,
    /// Milliseconds of the script.
    pub(crate) start: Option<i64>,
    pub(crate) end: Option<i64>,
    pub(crate) lease: Option<i64>,
    /// Labels that differ from the alert's from here on; its source names identities.
    pub(crate) labels: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Well,
    Fails,
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Well,
    Down,
    /// Most milliseconds of one way.
    Slow(u64),
}

/// The head of a request that is not DingTalk's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forged {
    /// That of the last request that was taken.
    Seen,
    /// Signed with another secret.
    Unsigned,
    /// Signed two hours ago.
    Stale,
}

/// Where the answer to a question may be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// To DingTalk, for so many milliseconds.
    Lasts(u64),
    /// To an address that is not DingTalk's.
    Elsewhere,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Post {
        sayings: Vec<Saying>,
        once: bool,
    },
    Plan(String),
    Clock(i64),
    Kill {
        applied: bool,
        down: u64,
    },
    Stop {
        down: u64,
    },
    Disk(Disk),
    DiskSlow(u64),
    Fault(Option<String>, Fault, u32),
    Network(Network),
    Heal,
    Check,
    /// A person reads everything in the group of a receiver, or in the own chats.
    Read {
        person: String,
        receiver: Option<String>,
    },
    /// What waits for these receivers of the configuration is to be told now.
    Hasten(Vec<String>),
    /// A person writes to the bot of an app, in the group of a receiver or in the own chat.
    Ask {
        person: String,
        app: String,
        receiver: Option<String>,
        text: String,
        /// How often DingTalk posts it.
        times: u64,
        session: Session,
    },
    /// Somebody who is not DingTalk says this to an app's bot.
    Forge {
        app: String,
        text: String,
        head: Forged,
    },
    /// This has come about by now.
    Expect(Expected),
}

/// What a script says must have come about.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// A receiver has been told of an alert.
    Told { receiver: String, alert: String },
    /// That is taken back.
    Recalled { receiver: String, alert: String },
    /// It is known that the receiver has read it.
    IsRead { receiver: String, alert: String },
    /// A person who asked has been answered.
    Answered(String),
}

/// A whole scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) noise: u64,
    /// Milliseconds of the month that have passed when it begins.
    pub(crate) begin: u64,
    pub(crate) sources: BTreeMap<String, u64>,
    /// Who is in which department, besides the root.
    pub(crate) departments: BTreeMap<u64, Vec<String>>,
    pub(crate) plans: BTreeMap<String, PlanText>,
    pub(crate) alerts: BTreeMap<String, AlertText>,
    /// With their milliseconds, in order.
    pub(crate) steps: Vec<(u64, Step)>,
}

impl Script {
    /// Reads a text; what cannot be understood is an error, what refers to nothing is not.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            script
                .line(line)
                .ok_or_else(|| format!("not understood: {line}"))?;
        }
        script.steps.sort_by_key(|(at, _)| *at);
        Ok(script)
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (first, rest) = line.split_once(' ')?;
        match first {
            "noise" => self.noise = rest.parse().ok()?,
            "begin" => self.begin = u64::try_from(milliseconds(rest)?).ok()?,
            "source" => {
                let (name, words) = named(rest)?;
                self.sources
                    .insert(name, words.number("expire").unwrap_or(86_400));
            }
            "department" => {
                let (id, people) = rest.split_once(' ')?;
                self.departments.insert(id.parse().ok()?, listed(people));
            }
            "plan" => {
                let (name, rest) = rest.split_once(' ')?;
                let plan = self.plans.entry(name.to_owned()).or_default();
                let (what, rest) = rest.split_once(' ')?;
                let (name, words) = named(rest)?;
                match what {
                    "bot" => drop(plan.bots.insert(name, words)),
                    "app" => drop(plan.apps.insert(name, words)),
                    "receiver" => drop(plan.receivers.insert(name, words)),
                    "route" => plan.routes.push((name, words)),
                    "quota" => plan.quota = name.parse().ok()?,
                    "apiquota" => plan.api_quota = name.parse().ok()?,
                    _ => return None,
                }
            }
            "alert" => {
                let (name, words) = named(rest)?;
                let source = words.get("from")?.to_owned();
                let alert = AlertText {
                    source,
                    labels: pairs(&words.0, &["from", "picture", "pages"]),
                    picture: words.number("picture"),
                    pages: usize::try_from(words.number("pages").unwrap_or(0)).ok()?,
                };
                self.alerts.insert(name, alert);
            }
            time => {
                let at = u64::try_from(milliseconds(time)?).ok()?;
                self.steps.push((at, step(rest)?));
            }
        }
        Some(())
    }
}

/// A name, and what is said of it.
fn named(text: &str) -> Option<(String, Words)> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    (!name.is_empty()).then(|| (name.to_owned(), Words::new(rest)))
}

/// The words that are labels.
fn pairs(words: &[String], besides: &[&str]) -> Vec<(String, String)> {
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    pairs
        .filter(|(name, _)| !besides.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn step(text: &str) -> Option<Step> {
    let words = Words::new(text);
    let down = u64::try_from(words.seconds("down").unwrap_or(1000)).ok()?;
    Some(match words.0.first()?.as_str() {
        "fire" | "end" => Step::Post {
            sayings: sayings(text)?,
            once: false,
        },
        "once" => Step::Post {
            sayings: sayings(text.strip_prefix("once ")?)?,
            once: true,
        },
        "plan" => Step::Plan(words.0.get(1)?.clone()),
        "clock" => Step::Clock(milliseconds(words.0.get(1)?)?),
        "kill" => Step::Kill {
            applied: words.has("applied"),
            down,
        },
        "stop" => Step::Stop { down },
        "store" if words.has("fails") => Step::Disk(Disk::Fails),
        "store" if words.has("unreadable") => Step::Disk(Disk::Unreadable),
        "store" if words.has("well") => Step::Disk(Disk::Well),
        "store" => Step::DiskSlow(words.number("slow")?),
        "network" if words.has("down") => Step::Network(Network::Down),
        "network" if words.has("well") => Step::Network(Network::Well),
        "network" => Step::Network(Network::Slow(words.number("slow")?)),
        "fault" => {
            let bot = words.0.get(1).filter(|bot| *bot != "*").cloned();
            let times = u32::try_from(words.number("times").unwrap_or(1)).ok()?;
            Step::Fault(bot, fault(words.0.get(2)?)?, times)
        }
        "heal" => Step::Heal,
        "check" => Step::Check,
        "read" => Step::Read {
            person: words.0.get(1)?.clone(),
            receiver: words.0.get(2).cloned(),
        },
        "hasten" => Step::Hasten(listed(words.0.get(1)?)),
        "ask" => Step::Ask {
            person: words.0.get(1)?.clone(),
            app: words.get("app")?.to_owned(),
            receiver: words.get("in").map(str::to_owned),
            text: text.split_once(" say ")?.1.to_owned(),
            times: words.number("times").unwrap_or(1),
            session: session(&words)?,
        },
        "forge" => Step::Forge {
            app: words.0.get(1)?.clone(),
            text: text.split_once(" say ")?.1.to_owned(),
            head: match words.0.get(2)?.as_str() {
                "unsigned" => Forged::Unsigned,
                "stale" => Forged::Stale,
                _ => Forged::Seen,
            },
        },
        "told" | "recalled" | "isread" | "answered" => Step::Expect(expected(&words)?),
        _ => return None,
    })
}

fn session(words: &Words) -> Option<Session> {
    Some(match words.get("session") {
        None => Session::Lasts(SESSION_LIFE),
        Some("elsewhere") => Session::Elsewhere,
        Some(seconds) => Session::Lasts(u64::try_from(milliseconds(seconds)?).ok()?),
    })
}

fn expected(words: &Words) -> Option<Expected> {
    let name = words.0.get(1)?.clone();
    let alert = words.0.get(2).cloned();
    Some(match words.0.first()?.as_str() {
        "answered" => Expected::Answered(name),
        "recalled" => Expected::Recalled {
            receiver: name,
            alert: alert?,
        },
        "isread" => Expected::IsRead {
            receiver: name,
            alert: alert?,
        },
        _ => Expected::Told {
            receiver: name,
            alert: alert?,
        },
    })
}

fn sayings(text: &str) -> Option<Vec<Saying>> {
    text.split('+')
        .map(|text| {
            let words = Words::new(text);
            let fires = match words.0.first()?.as_str() {
                "fire" => true,
                "end" => false,
                _ => return None,
            };
            Some(Saying {
                alert: words.0.get(1)?.clone(),
                fires,
                start: words.seconds("start"),
                end: words.seconds("end"),
                lease: words.seconds("lease"),
                labels: pairs(&words.0, &["start", "end", "lease"]),
            })
        })
        .collect()
}

fn fault(text: &str) -> Option<Fault> {
    let (word, number) = text.split_once('=').unwrap_or((text, "0"));
    let people = || number.split(',').map(str::to_owned).collect();
    match word {
        "gone" => return Some(Fault::InvalidStaff(people())),
        "held" => return Some(Fault::FlowControlledStaff(people())),
        "code" => {
            let (status, code) = number.split_once(':')?;
            return Some(Fault::Code {
                http_status: status.parse().ok()?,
                code: code.to_owned(),
                message: None,
            });
        }
        _ => {}
    }
    let (number, sub_code) = match number.split_once(':') {
        Some((number, sub_code)) => (number, Some(sub_code.to_owned())),
        None => (number, None),
    };
    let number: u64 = number.parse().ok()?;
    Some(match word {
        "errcode" => Fault::Errcode {
            errcode: i64::try_from(number).ok()?,
            errmsg: None,
            sub_code,
        },
        "busy" => Fault::Errcode {
            errcode: -1,
            errmsg: None,
            sub_code: None,
        },
        "html" => Fault::Html,
        "punish" => Fault::Punish,
        "mixed" => Fault::Mixed,
        "status" => Fault::HttpStatus(u16::try_from(number).ok()?),
        "redirect" => Fault::RedirectTo("https://login.example.com/".to_owned()),
        "empty" => Fault::Empty,
        "hang" => Fault::Hang(number),
        "drop" => Fault::Drop,
        "accept_drop" => Fault::AcceptDrop,
        "accept_hang" => Fault::AcceptHang(number),
        "slow" => Fault::Slow(number),
        "cut" => Fault::Cut,
        "string" => Fault::StringErrcode,
        _ => return None,
    })
}

//! What must hold, whatever happens.

use std::collections::BTreeSet;
use std::fmt;

/// A promise of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Invariant {
    /// A 2xx is given only for what is on disk.
    AnswerAfterCommit,
    /// A message leaves only after its bytes are on disk.
    SendAfterCommit,
    /// Everything that was acknowledged is told to everybody it concerns.
    NothingLost,
    /// What fires is known to fire, what is over is not known as firing.
    EverybodyKnows,
    /// Nothing is told again without news, except when it was not known to have arrived.
    NothingTwice,
    /// What may have arrived is sent again with the same `msgUuid` and the same bytes, and nothing before it.
    DoubtKeepsItsMessage,
    /// What is taken back was announced, is over, and that was told; or a newer digest has come. On disk.
    RecallIsDue,
    /// What is over is taken back from whom `recall` says.
    RecalledInTime,
    /// It is asked who has read, for whom `read_status` says.
    AskedWhoHasRead,
    /// What is asked about messages that were delivered is asked a few times.
    AfterwardsBounded,
    /// Whoever is said to have read a message has, and whoever has is said to.
    ReadersAreRight,
    /// No two messages have the same `msgUuid`.
    UuidIsNew,
    /// No bot is faster than its minute allows, no app than its second, as DingTalk counts.
    MinuteKept,
    /// No app tells everybody more often in a day than DingTalk allows.
    DayKept,
    /// Nothing is sent or asked while DingTalk blocks our address.
    BlockKept,
    /// Who is too fast, or refused, says nothing new for as long as that is worth.
    SilenceKept,
    /// Part of a bot's minute is left to urgent changes.
    ReserveKept,
    /// What is left of the month's quota is made to last.
    QuotaLasts,
    /// An urgent change is told within seconds when nothing is in its way.
    UrgentInTime,
    /// A change is told when its route says, however others fare.
    ToldInTime,
    /// Who asks for it is told at once what waits.
    ToldWhenAsked,
    /// DingTalk has nothing against what it is sent, and where.
    Acceptable,
    /// A digest names what it covers.
    TextTellsAll,
    /// The picture of a digest comes behind it and never in its place, once, and is that of all that fires in it.
    PictureFollows,
    /// The numbers in a digest are those of what it tells and of what fires.
    NumbersAreTrue,
    /// What is held grows with the alerts that are alive, and with nothing else.
    MemoryBounded,
    /// A start from what is on disk knows what the running process knows.
    RestartChangesNothing,
    /// The daemon comes to rest: it does not ask to be woken over and over.
    ComesToRest,
    /// Shutting down ends, in time, and not before the answers under way have had theirs.
    DrainEnds,
    /// An app's token is asked for once for all, and again when it is about to end or was refused.
    TokenKept,
    /// Whoever is known by a number is looked up once for all, and again after hours.
    PeopleKept,
    /// A message reaches those it is for, and nobody else; nothing goes anywhere but to DingTalk.
    NobodyElse,
    /// A question is answered once, however often it comes.
    AnsweredOnce,
    /// A question is answered within seconds when nothing is in its way.
    AnsweredInTime,
    /// What an answer says fires does, and what it says was told was told.
    AnswersAreTrue,
    /// Who may not ask learns nothing and moves nothing, and who only says that it is DingTalk gets no answer.
    OnlyWhoMayAsk,
    /// Equal seeds give equal bytes.
    Repeatable,
}

impl Invariant {
    /// The stable name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AnswerAfterCommit => "answer_after_commit",
            Self::SendAfterCommit => "send_after_commit",
            Self::NothingLost => "nothing_lost",
            Self::EverybodyKnows => "everybody_knows",
            Self::NothingTwice => "nothing_twice",
            Self::DoubtKeepsItsMessage => "doubt_keeps_its_message",
            Self::RecallIsDue => "recall_is_due",
            Self::RecalledInTime => "recalled_in_time",
            Self::AskedWhoHasRead => "asked_who_has_read",
            Self::AfterwardsBounded => "afterwards_bounded",
            Self::ReadersAreRight => "readers_are_right",
            Self::UuidIsNew => "uuid_is_new",
            Self::MinuteKept => "minute_kept",
            Self::DayKept => "day_kept",
            Self::BlockKept => "block_kept",
            Self::SilenceKept => "silence_kept",
            Self::ReserveKept => "reserve_kept",
            Self::QuotaLasts => "quota_lasts",
            Self::UrgentInTime => "urgent_in_time",
            Self::ToldInTime => "told_in_time",
            Self::ToldWhenAsked => "told_when_asked",
            Self::Acceptable => "acceptable",
            Self::TextTellsAll => "text_tells_all",
            Self::PictureFollows => "picture_follows",
            Self::NumbersAreTrue => "numbers_are_true",
            Self::MemoryBounded => "memory_bounded",
            Self::RestartChangesNothing => "restart_changes_nothing",
            Self::ComesToRest => "comes_to_rest",
            Self::DrainEnds => "drain_ends",
            Self::TokenKept => "token_kept",
            Self::PeopleKept => "people_kept",
            Self::NobodyElse => "nobody_else",
            Self::AnsweredOnce => "answered_once",
            Self::AnsweredInTime => "answered_in_time",
            Self::AnswersAreTrue => "answers_are_true",
            Self::OnlyWhoMayAsk => "only_who_may_ask",
            Self::Repeatable => "repeatable",
        }
    }
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    /// Milliseconds of the script.
    pub(crate) at: u64,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.at / 1000, self.at % 1000);
        write!(
            f,
            "{} at {whole}.{rest:03}s: {}",
            self.invariant.as_str(),
            self.what
        )
    }
}

/// Says that a promise was broken.
pub(crate) fn violation(invariant: Invariant, at: u64, what: impl Into<String>) -> Violation {
    Violation {
        invariant,
        at,
        what: what.into(),
    }
}

#[test]
fn every_promise_stands_in_the_guide() {
    let (names, guide) = (
        include_str!("invariant.rs"),
        include_str!("../../docs/simulator.md"),
    );
    let names = names
        .split("=> \"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"'));
    let (promised, mut told): (BTreeSet<&str>, BTreeSet<&str>) = (
        names
            .map(|(name, _)| name)
            .filter(|name| !name.is_empty())
            .collect(),
        guide
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
            .map(|(name, _)| name)
            .collect(),
    );
    assert!(
        guide.contains("\n`repeatable`: "),
        "that one is about seeds, not steps"
    );
    told.insert(Invariant::Repeatable.as_str());
    assert_eq!(promised, told);
}

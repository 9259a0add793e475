//! Every limit of composing and rendering, in one place. Whatever goes over one is counted or shortened with
//! `…`, never dropped in silence.

/// Most characters of a title: what a phone's lock screen shows.
pub const TITLE_CHARS_MAX: usize = 40;

/// Fewest characters of a name worth keeping in a title.
pub const TITLE_NAME_CHARS_MIN: usize = 8;

/// Most people one message may mention, as DingTalk allows.
pub const MENTIONS_MAX: usize = 50;

/// Most alerts a digest lists with annotations and links; above, a line each.
pub const FULL_ALERTS_MAX: usize = 40;

/// Most alerts a digest lists at all; above, counts and examples.
pub const COMPACT_ALERTS_MAX: usize = 400;

/// Most sections a rollup lists.
pub const ROLLUP_SECTIONS_MAX: usize = 12;

/// Most sections a rollup lists of states other than its first.
pub const ROLLUP_OTHER_SECTIONS_MAX: usize = 3;

/// Most alerts a rollup shows of a section.
pub const ROLLUP_ALERTS_MAX: usize = 3;

/// Most labels whose values a section of a rollup counts.
pub const TOP_LABELS_MAX: usize = 2;

/// Most labels whose values a whole rollup counts.
pub const DIGEST_TOP_LABELS_MAX: usize = 5;

/// Most values shown of a label.
pub const TOP_VALUES_MAX: usize = 3;

/// A label with more values than this names single things and is not counted.
pub const TALLIED_VALUES_MAX: usize = 256;

/// Most alerts that a folded line names.
pub const LINE_NAMES_MAX: usize = 6;

/// Most durations a folded line spells out.
pub const LINE_DURATIONS_MAX: usize = 3;

/// Most values in a section's head, its name aside.
pub const PLACE_VALUES_MAX: usize = 3;

/// Most label values that name an alert inside its section.
pub const NAME_VALUES_MAX: usize = 3;

/// Most names a digest gives the title to choose from.
pub const WHAT_NAMES_MAX: usize = 4;

/// Most labels, annotations or values of an alert that a template sees.
pub const PAIRS_MAX: usize = 64;

/// Longest link target in bytes; longer ones are not shown.
pub const LINK_BYTES_MAX: usize = 2000;

/// Most bytes a template may write for one message, whatever the request's limit.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Deepest nesting of `each` blocks in a template, partials included.
pub const LOOPS_NESTED_MAX: usize = 4;

/// Most times that blocks of a template are repeated and templates included while one message is written.
pub const ROUNDS_MAX: u32 = 50_000;

/// An included template counts as one of these rounds more for so many values of what it is given, for they are
/// copied.
pub const VALUES_PER_ROUND: usize = 16;

/// Deepest nesting of brackets inside a template's braces, and of its blocks.
pub const TEMPLATE_NESTED_MAX: usize = 32;

/// Most branches (`else`) of one template: each is a block inside the one before.
pub const TEMPLATE_BRANCHES_MAX: usize = 512;

/// Most characters of the reason a notice gives for a failed template.
pub const NOTICE_CHARS_MAX: usize = 200;

/// Most buttons of a card: as many as the app bots' templates have.
pub const BUTTONS_MAX: usize = 5;

/// Most characters of a button: what stays on one line of a phone.
pub const BUTTON_CHARS_MAX: usize = 20;

/// Longest address that a work notice opens, as DingTalk allows the only button of a card; longer ones are not shown.
pub const NOTICE_URL_BYTES_MAX: usize = 500;

/// Most bytes of all buttons of a work notice: DingTalk takes 1000, and the words need room beside them.
pub const NOTICE_BUTTONS_BYTES_MAX: usize = 700;

/// Most lines of a form, as many as DingTalk shows.
pub const FORM_ROWS_MAX: usize = 6;

/// Most sections of a feed with an entry of their own, and a few of other states. Before them stands one entry, after
/// them what is left.
pub const FEED_SECTIONS_MAX: usize = 6;

/// Most sections a link has lines about, and a few of other states.
pub const LINK_SECTIONS_MAX: usize = 3;

/// Most characters of a line of a link or feed.
pub const LINE_CHARS_MAX: usize = 200;

/// Most characters of a link's text; DingTalk shows the first lines.
pub const LINK_TEXT_CHARS_MAX: usize = 500;

/// How long texts may be in a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLimits {
    /// Most characters of an annotation.
    pub annotation: usize,
    /// Most characters of a line's summary.
    pub summary: usize,
    /// Most characters of a line's description.
    pub description: usize,
    /// Most characters of a label's value where it is displayed as a name.
    pub name: usize,
}

impl TextLimits {
    /// The limits to try one after the other until a single alert fits one message.
    pub const STEPS: [Self; 4] = [
        Self {
            annotation: 4000,
            summary: 240,
            description: 400,
            name: 80,
        },
        Self {
            annotation: 1000,
            summary: 160,
            description: 160,
            name: 60,
        },
        Self {
            annotation: 200,
            summary: 80,
            description: 0,
            name: 40,
        },
        Self {
            annotation: 40,
            summary: 30,
            description: 0,
            name: 20,
        },
    ];
}

const _: () = assert!(ROLLUP_ALERTS_MAX < FULL_ALERTS_MAX && FULL_ALERTS_MAX <= COMPACT_ALERTS_MAX);
const _: () = assert!(ROLLUP_OTHER_SECTIONS_MAX <= ROLLUP_SECTIONS_MAX);
const _: () = assert!(LINK_SECTIONS_MAX <= FEED_SECTIONS_MAX && FEED_SECTIONS_MAX <= ROLLUP_SECTIONS_MAX);
const _: () = assert!(LINE_CHARS_MAX < LINK_TEXT_CHARS_MAX);
const _: () = assert!(NOTICE_URL_BYTES_MAX < NOTICE_BUTTONS_BYTES_MAX);
const _: () = assert!(TOP_LABELS_MAX <= DIGEST_TOP_LABELS_MAX);

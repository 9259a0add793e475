//! The people of the stand-in's organisation, and what becomes of a message to each of them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dingtalk::simulator::fault::Fault;
use crate::dingtalk::simulator::{SimulatedDepartment, SimulatedPerson, SimulatorSettings};

/// One of those a message is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recipient {
    /// The `userId` of the request.
    pub user_id: String,
    /// The person's name; the `userId` again when nobody has it.
    pub name: String,
    /// What became of the message.
    pub fate: Fate,
    /// Why a work notice was held back: the code in its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
}

/// What became of a message to one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is in the person's chat.
    Told,
    /// Nobody has this `userId`.
    Unknown,
    /// Held back because the person gets too many, or the same again.
    FlowControlled,
    /// The whole call was refused.
    Refused,
}

/// All people.
pub(super) struct People {
    /// By `userId`.
    known: BTreeMap<String, SimulatedPerson>,
    /// Who is in the departments besides the root, by their numbers as calls write them.
    departments: BTreeMap<String, Vec<String>>,
    accept_any: bool,
}

/// The department that holds everybody.
const ROOT: &str = "1";

impl People {
    pub(super) fn new(settings: &SimulatorSettings) -> Self {
        let by_number =
            |department: &SimulatedDepartment| (department.id.to_string(), department.people.clone());
        let by_id = |person: &SimulatedPerson| (person.user_id.clone(), person.clone());
        Self {
            known: settings.people.iter().map(by_id).collect(),
            departments: settings.departments.iter().map(by_number).collect(),
            accept_any: settings.accept_any_token,
        }
    }

    /// Somebody who has not been told yet.
    pub(super) fn recipient(&self, user_id: &str) -> Recipient {
        let name = (self.known.get(user_id)).map_or(user_id, |person| person.name.as_str());
        Recipient {
            user_id: user_id.to_owned(),
            name: name.to_owned(),
            fate: Fate::Refused,
            code: None,
        }
    }

    /// Who has this `userId`.
    pub(super) fn person(&self, user_id: &str) -> Option<SimulatedPerson> {
        let anybody = || SimulatedPerson {
            name: user_id.to_owned(),
            user_id: user_id.to_owned(),
            mobile: None,
            union_id: None,
        };
        let known = self.known.get(user_id).cloned();
        known.or_else(|| self.accept_any.then(anybody))
    }

    /// Everybody's `userId`.
    pub(super) fn ids(&self) -> impl Iterator<Item = String> {
        self.known.keys().cloned()
    }

    /// Who is in a department, if there is one.
    pub(super) fn of_department(&self, id: &str) -> Option<Vec<String>> {
        if id == ROOT {
            return Some(self.ids().collect());
        }
        self.departments.get(id).cloned()
    }

    /// The first of whom this is true.
    pub(super) fn find(&self, is_it: impl Fn(&SimulatedPerson) -> bool) -> Option<&SimulatedPerson> {
        self.known.values().find(|person| is_it(person))
    }

    /// Gives each of them the message, unless there is no such person or a fault names them.
    pub(super) fn tell(&self, recipients: &mut [Recipient], fault: Option<&Fault>) {
        for recipient in recipients {
            let id = &recipient.user_id;
            let named = |ids: &[String]| ids.is_empty() || ids.contains(id);
            let is_known = self.accept_any || self.known.contains_key(id);
            recipient.fate = match fault {
                Some(Fault::InvalidStaff(ids)) if named(ids) => Fate::Unknown,
                _ if !is_known => Fate::Unknown,
                Some(Fault::FlowControlledStaff(ids)) if named(ids) => Fate::FlowControlled,
                _ => Fate::Told,
            };
        }
    }
}

/// Those among them who met this fate.
pub(super) fn with_fate(recipients: &[Recipient], fate: Fate) -> Vec<&str> {
    (recipients.iter())
        .filter(|recipient| recipient.fate == fate)
        .map(|recipient| recipient.user_id.as_str())
        .collect()
}

//! What a trigger's schedule can still get wrong.

use std::collections::BTreeSet;

use crate::{
    config::agents::Checker,
    domain::{
        schedule::{Schedule, ScheduleSpec},
        source::is_valid_name,
        time::Timestamp,
        trigger::{Reply, TriggerSpec},
    },
};

/// When a schedule must be due once to be one: any cron expression that ever comes comes within this.
const LONG_AGO: Timestamp = Timestamp(0);

/// Schedules of an agent are told apart by their names, which without a `name` are places in the file.
pub(super) fn check_names(triggers: &[TriggerSpec], checker: &mut Checker<'_>) {
    let mut seen = BTreeSet::new();
    for (index, trigger) in triggers.iter().enumerate() {
        let Some(schedule) = &trigger.schedule else { continue };
        let name = schedule.name.clone().unwrap_or_else(|| (index + 1).to_string());
        if !seen.insert(name.clone()) {
            let path = ["triggers", &index.to_string(), "schedule"];
            checker.error(&path, format!("another schedule of this agent is called `{name}`"), "choose another name");
        }
    }
}

/// Checks a schedule with what does not go with it.
pub(super) fn check(trigger: &TriggerSpec, schedule: &ScheduleSpec, index: &str, checker: &mut Checker<'_>) {
    let path = ["triggers", index, "schedule"];
    if !trigger.source.is_empty() {
        checker.error(&["triggers", index], "a trigger has either a `source` or a `schedule`", "remove one of them");
    }
    for (key, is_given) in [("to", !trigger.to.is_empty()), ("from", !trigger.from.is_empty())] {
        if is_given {
            checker.error(&["triggers", index, key], format!("`{key}` means nothing with a `schedule`"), "remove it");
        }
    }
    if let Some(name) = schedule.name.as_ref().filter(|name| !is_valid_name(name)) {
        let message = format!("`{name}` is no name for a schedule");
        checker.error(&["triggers", index, "schedule", "name"], message, "write 1 to 64 of a-z, 0-9, - and _");
    }
    if let Some(Reply::Sms(_)) = &trigger.reply {
        let help = "write { email: … } or { webhook: https://…, secret: name }";
        checker.error(&["triggers", index, "reply"], "a schedule has no number to text from", help);
    }
    match Schedule::parse(schedule) {
        Err(fault) if fault.key.is_empty() => checker.error(&path, fault.message, fault.help),
        Err(fault) => checker.error(&["triggers", index, "schedule", fault.key], fault.message, fault.help),
        Ok(parsed) if parsed.next_after(LONG_AGO).is_none() => {
            let help = "write a time that comes, such as \"0 9 * * mon-fri\"";
            checker.error(&path, format!("`{}` never comes", schedule.words()), help);
        }
        Ok(_) => {}
    }
}

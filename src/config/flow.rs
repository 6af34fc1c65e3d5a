//! What a trigger's words about time can get wrong: numbers that mean nothing, and words that speak against each other.

use crate::{
    config::{agents::Checker, checks::check_template, problem::nearest, validate::Kind},
    domain::{
        flow::{MOST_EVENTS, RateKey},
        template::Template,
        time::Span,
        trigger::{TriggerSpec, WhileRunning},
    },
};

const LONGEST: Span = Span(30 * 86_400_000);
const SHORTEST: Span = Span(100);

/// Checks them, at their places in the frontmatter.
pub(super) fn check(trigger: &TriggerSpec, index: &str, kind: Kind, checker: &mut Checker<'_>) {
    let mut words = Words { index, checker };
    words.numbers(trigger);
    words.spans(trigger);
    words.keys(trigger);
    words.together(trigger, kind);
}

struct Words<'a, 'b> {
    index: &'a str,
    checker: &'a mut Checker<'b>,
}

impl Words<'_, '_> {
    fn error(&mut self, keys: &[&str], message: &str, help: &str) {
        let path: Vec<&str> = ["triggers", self.index].into_iter().chain(keys.iter().copied()).collect();
        self.checker.error(&path, format!("`triggers[{}].{}` {message}", self.index, keys.join(".")), help);
    }

    fn numbers(&mut self, trigger: &TriggerSpec) {
        let throttle = trigger.throttle.as_ref();
        for (keys, number, least, most) in [
            (["throttle", "limit"], throttle.map(|word| word.limit), 1, 1_000_000),
            (["throttle", "burst"], throttle.and_then(|word| word.burst), 1, 1_000_000),
            (["rate_limit", "limit"], trigger.rate_limit.as_ref().map(|word| word.limit), 1, 1_000_000),
            (["batch", "events"], trigger.batch.as_ref().map(|word| word.events), 2, MOST_EVENTS),
        ] {
            if let Some(number) = number.filter(|number| !(least..=most).contains(&i64::from(*number))) {
                self.error(&keys, &format!("is {number}"), &format!("write {least} to {most}"));
            }
        }
        if !(-100..=100).contains(&trigger.priority) {
            self.error(&["priority"], &format!("is {}", trigger.priority), "write -100 to 100; higher ones go first");
        }
    }

    fn spans(&mut self, trigger: &TriggerSpec) {
        let debounce = trigger.debounce.as_ref();
        let spans = [
            (&["throttle", "per"][..], trigger.throttle.as_ref().map(|word| word.per)),
            (&["rate_limit", "per"], trigger.rate_limit.as_ref().map(|word| word.per)),
            (&["debounce", "quiet"], debounce.map(|word| word.quiet)),
            (&["debounce", "longest"], debounce.and_then(|word| word.longest)),
            (&["batch", "within"], trigger.batch.as_ref().map(|word| word.within)),
            (&["delay"], trigger.delay),
        ];
        for (keys, span) in spans.into_iter().filter_map(|(keys, span)| Some((keys, span?))) {
            if !(SHORTEST..=LONGEST).contains(&span) {
                self.error(keys, &format!("is {span}"), "write a span between 100ms and 30d");
            }
        }
        if let Some(word) = debounce
            && word.longest.is_some_and(|longest| longest < word.quiet)
        {
            self.error(
                &["debounce", "longest"],
                "is shorter than `quiet`",
                "write how long the first event waits at most",
            );
        }
    }

    fn keys(&mut self, trigger: &TriggerSpec) {
        let keys = [
            ("throttle", trigger.throttle.as_ref().and_then(|word| word.key.as_deref())),
            ("debounce", trigger.debounce.as_ref().and_then(|word| word.key.as_deref())),
            ("batch", trigger.batch.as_ref().and_then(|word| word.key.as_deref())),
        ];
        for (word, key) in keys.into_iter().filter_map(|(word, key)| Some((word, key?))) {
            self.key(word, key, "write a template such as {{ body.repository.id }}");
        }
        if let Some(RateKey::Template(key)) = trigger.rate_limit.as_ref().map(|word| &word.key) {
            let meant = nearest(key, ["sender", "source"]).map(|name| format!("did you mean `{name}`?"));
            let help =
                meant.unwrap_or_else(|| "write sender, source, or a template such as {{ body.user.id }}".to_owned());
            self.key("rate_limit", key, &help);
        }
    }

    fn key(&mut self, word: &str, key: &str, help: &str) {
        if Template::parse(key).is_ok_and(|template| !template.has_values()) {
            self.error(&[word, "key"], &format!("is `{key}`, which is the same for every event"), help);
        }
        check_template(&["triggers", self.index, word, "key"], key, self.checker);
    }

    fn together(&mut self, trigger: &TriggerSpec, kind: Kind) {
        let (debounce, batch) = (trigger.debounce.is_some(), trigger.batch.is_some());
        if debounce && batch {
            self.error(&["batch"], "and `debounce` both say when events become a run", "write one of them");
        }
        if (debounce || batch) && trigger.while_running != WhileRunning::Queue {
            let help = "remove one of them; events join a run that waits for its turn anyway";
            self.error(&["while_running"], "speaks against `debounce` and `batch`", help);
        }
        if kind == Kind::Webhook && trigger.rate_limit.as_ref().is_some_and(|word| word.notice) {
            self.error(
                &["rate_limit", "notice"],
                "is for mail and text messages",
                "remove it; webhooks are not answered",
            );
        }
    }
}

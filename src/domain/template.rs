//! Prompt and session templates: `{{ path.to.value }}` over an event's view, and nothing else.
//!
//! Logic-less on purpose: a template is an operator's text, the values are a stranger's. A value is
//! put in as text once and is never read as a template. Paths are names, numbers for array items,
//! or `["any name"]`: `{{ body.issue.title }}`, `{{ headers["x-github-event"] }}`, `{{ to[0] }}`.

use serde_json::Value;

/// One value's longest text in a rendered template, in bytes; longer ones are cut and say so.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// A template, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Path(Vec<Step>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

impl Template {
    /// Checks a template.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            let inner = &rest[open + 2..];
            let close =
                inner.find("}}").ok_or_else(|| format!("`{{{{` without `}}}}` near `{}`", clip(&rest[open..], 40)))?;
            parts.push(Part::Path(parse_path(inner[..close].trim())?));
            rest = &inner[close + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The text with every path replaced by its value; what is not there becomes nothing.
    #[must_use]
    pub fn render(&self, view: &Value) -> String {
        self.render_within(view, ("", ""), MAX_VALUE_BYTES)
    }

    /// As [`Template::render`], with every value between `open` and `close`, so that a reader can tell
    /// the operator's words from a stranger's. No value is longer than `max_value` bytes, nor than [`MAX_VALUE_BYTES`].
    #[must_use]
    pub fn render_within(&self, view: &Value, (open, close): (&str, &str), max_value: usize) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Path(path) => {
                    out.push_str(open);
                    push_value(&mut out, lookup(view, path), max_value.min(MAX_VALUE_BYTES));
                    out.push_str(close);
                }
            }
        }
        out
    }

    /// Whether it has any path, so that its text depends on the event.
    #[must_use]
    pub fn has_values(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Path(_)))
    }
}

fn push_value(out: &mut String, value: Option<&Value>, most: usize) {
    let text = match value {
        None | Some(Value::Null) => return,
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let kept = clip(&text, most);
    out.push_str(kept);
    if kept.len() < text.len() {
        out.push_str(" [cut]");
    }
}

fn lookup<'a>(view: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(view, |value, step| match step {
        Step::Name(name) => value.get(name.as_str()),
        Step::Index(index) => value.get(*index),
    })
}

fn parse_path(text: &str) -> Result<Vec<Step>, String> {
    let fault = || format!("`{{{{ {text} }}}}` is not a path; write names joined by dots, like body.issue.title");
    let mut steps = Vec::new();
    let mut rest = text;
    loop {
        if let Some(inner) = rest.strip_prefix("[\"") {
            let close = inner.find("\"]").ok_or_else(fault)?;
            steps.push(Step::Name(inner[..close].to_owned()));
            rest = &inner[close + 2..];
        } else if let Some(inner) = rest.strip_prefix('[') {
            let close = inner.find(']').ok_or_else(fault)?;
            steps.push(Step::Index(inner[..close].trim().parse().map_err(|_| fault())?));
            rest = &inner[close + 1..];
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let name = &rest[..end];
            if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-')) {
                return Err(fault());
            }
            steps.push(Step::Name(name.to_owned()));
            rest = &rest[end..];
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(steps),
            None if rest.starts_with('[') => {}
            None => return Err(fault()),
        }
    }
}

/// The longest start of `text` of at most `max` bytes that ends between characters.
#[must_use]
pub fn clip(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// As much of `text` as [`clip`] leaves, and how much was left out.
#[must_use]
pub fn shortened(mut text: String, max: usize) -> String {
    let kept = clip(&text, max).len();
    let left_out = text.len() - kept;
    text.truncate(kept);
    noted(text, left_out)
}

/// What was kept of a text, with what is said of the rest.
#[must_use]
pub fn noted(mut kept: String, left_out: usize) -> String {
    if left_out > 0 {
        kept.push_str(&format!("\n[{left_out} more bytes are left out]"));
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Template;

    #[test]
    fn paths_are_replaced_and_values_are_never_read_again() {
        let view =
            json!({"body": {"issue": {"title": "{{ id }} <b>", "n": 7}}, "headers": {"x-a": "1"}, "to": ["a", "b"]});
        let template =
            Template::parse("#{{ body.issue.n }} {{body.issue.title}} {{ headers[\"x-a\"] }}{{ to[1] }}{{ no.such }}!");
        assert_eq!(template.unwrap().render(&view), "#7 {{ id }} <b> 1b!");
    }

    #[test]
    fn faults_name_themselves() {
        assert!(Template::parse("{{ a").unwrap_err().contains("without"));
        for bad in ["{{ }}", "{{ a b }}", "{{ a..b }}", "{{ a[x] }}", "{{ f(x) }}", "{{% if %}}"] {
            assert!(Template::parse(bad).unwrap_err().contains("is not a path"), "{bad}");
        }
    }
}

//! `where` of a trigger: a CEL expression (<https://cel.dev>) over an event's view.

use cel::{Context, Program};
use serde_json::Value;

/// The names of an event's view that an expression can use at the top.
pub const NAMES: [&str; 23] = [
    "id",
    "channel",
    "kind",
    "source",
    "received_at",
    "dedupe_key",
    "thread",
    "sender",
    "automatic",
    "attachments",
    "from",
    "to",
    "subject",
    "text",
    "full_text",
    "html",
    "message_id",
    "headers",
    "query",
    "body",
    "media",
    "mail",
    "schedule",
];

/// Longest expression, in bytes.
pub const MAX_BYTES: usize = 4096;

/// Operators and brackets of one expression; they bound how deep it nests, for reading and
/// answering it are recursive.
pub const MAX_OPERATORS: usize = 128;

/// Brackets inside each other; answering is recursive on the caller's stack.
pub const MAX_NESTING: usize = 12;

/// Address space for reading [`MAX_OPERATORS`] brackets inside each other.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// An event's view as expressions read it; made once for all expressions that an event meets.
pub struct Prepared(Context<'static, 'static>);

impl Prepared {
    /// Takes the names of a view.
    ///
    /// # Errors
    /// What no expression can read.
    pub fn new(view: &Value) -> Result<Self, String> {
        let mut context = Context::default();
        for name in NAMES {
            let value = view.get(name).unwrap_or(&Value::Null);
            context.add_variable(name, value).map_err(|fault| fault.to_string())?;
        }
        Ok(Self(context))
    }
}

/// An expression, checked.
pub struct Filter {
    program: Program,
}

impl Filter {
    /// Checks an expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("it has {} bytes; {MAX_BYTES} are the most", text.len()));
        }
        let (operators, nesting) = measure(text);
        if nesting > MAX_NESTING {
            return Err(format!("it has more than {MAX_NESTING} brackets inside each other"));
        }
        if operators > MAX_OPERATORS {
            return Err(format!("it has more than {MAX_OPERATORS} operators and brackets"));
        }
        let program = compile(text)?.map_err(|fault| format!("`{text}`: {fault}"))?;
        if let Some(name) = program.references().variables().into_iter().find(|name| !NAMES.contains(name)) {
            return Err(format!("`{text}`: an event has no `{name}`; it has {}", NAMES.join(", ")));
        }
        Ok(Self { program })
    }

    /// Whether the event passes.
    ///
    /// # Errors
    /// Why the expression has no answer for this event; the trigger does not match then.
    pub fn passes(&self, view: &Value) -> Result<bool, String> {
        self.passes_prepared(&Prepared::new(view)?)
    }

    /// Whether the event passes.
    ///
    /// # Errors
    /// Why the expression has no answer for this event; the trigger does not match then.
    pub fn passes_prepared(&self, event: &Prepared) -> Result<bool, String> {
        match self.program.execute(&event.0) {
            Ok(cel::Value::Bool(answer)) => Ok(answer),
            Ok(other) => Err(format!("gives {:?}, not true or false", other.type_of())),
            Err(fault) => Err(fault.to_string()),
        }
    }
}

/// Compiles on a stack of its own: the parser needs more than 100 KiB for each bracket.
fn compile(text: &str) -> Result<Result<Program, cel::ParseErrors>, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let running = thread.spawn_scoped(scope, || Program::compile(text)).map_err(|fault| fault.to_string())?;
        running.join().map_err(|_| "the expression cannot be read".to_owned())
    })
}

/// Operators and brackets outside quotes, and how deep brackets go.
fn measure(text: &str) -> (usize, usize) {
    let (mut open, mut deepest) = (0_usize, 0);
    let (mut count, mut quote, mut escaped) = (0, None, false);
    for c in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None => {
                match c {
                    '(' | '[' | '{' => open += 1,
                    ')' | ']' | '}' => open = open.saturating_sub(1),
                    _ => {}
                }
                deepest = deepest.max(open);
                // Each of the first nests one level deeper when it is answered.
                count += if "+-*/%?".contains(c) { 4 } else { usize::from("([{.!<>=&|".contains(c)) };
            }
        }
    }
    (count + text.split_ascii_whitespace().filter(|word| *word == "in").count(), deepest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Filter;

    #[test]
    fn the_example_of_the_readme_works() {
        let filter = Filter::parse(r#"headers["x-github-event"] == "issues" && body.action == "opened""#).unwrap();
        let mut event = json!({"headers": {"x-github-event": "issues"}, "body": {"action": "opened"}});
        assert_eq!(filter.passes(&event), Ok(true));
        event["body"]["action"] = json!("closed");
        assert_eq!(filter.passes(&event), Ok(false));
    }

    #[test]
    fn a_missing_field_is_a_reason_and_not_a_crash() {
        let filter = Filter::parse("body.nothing.there == 1").unwrap();
        assert!(filter.passes(&json!({"body": {}})).is_err());
    }

    #[test]
    fn faults_name_themselves() {
        assert!(Filter::parse("body.a ==").is_err());
        assert!(Filter::parse("bdy.a == 1").err().unwrap().contains("`bdy`"));
    }
}
